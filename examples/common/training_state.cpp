// SPDX-License-Identifier: MIT
#include "training_state.hpp"

#include "checkpoint_parts.hpp"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/utils.h>

#include <cstddef>
#include <mutex>
#include <vector>

namespace evenkeel::examples {

namespace {

torch::Tensor generator_state(torch::Device device) {
  auto generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(torch::Device device,
                         const Checkpoint& checkpoint,
                         const char* name,
                         const std::string& file) {
  const auto& state = tensor_like(checkpoint, name, generator_state(device), file);
  auto generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  try {
    generator.set_state(state);
  } catch (const c10::Error& error) {
    throw CheckpointError(
        fmt::format("{}: {} is damaged: {}", file, name, error.what_without_backtrace()));
  }
}

// The optimizer's tensors in a checkpoint: the counts of updates of all parameters in one, then
// each parameter's mean gradient, then each one's mean squared gradient.
std::string optimizer_tensor(size_t index) {
  return fmt::format("optimizer.{:05}", index);
}

void check(bool ok, const std::string& file, const std::string& name, const char* expected) {
  if (!ok) throw CheckpointError(fmt::format("{}: expected {} {}", file, name, expected));
}

}  // namespace

void store_training(Checkpoint& checkpoint,
                    const torch::nn::Module& model,
                    train::FusedAdam& optimizer,
                    torch::Device device) {
  const auto parameters = model.parameters();
  const auto count = parameters.size();
  std::vector<torch::Tensor> updates;
  for (size_t i = 0; i < count; ++i) {
    const auto& state = optimizer.state_of(parameters[i]);
    updates.push_back(state.step());
    checkpoint.tensors[optimizer_tensor(1 + i)] = state.exp_avg();
    checkpoint.tensors[optimizer_tensor(1 + count + i)] = state.exp_avg_sq();
  }
  for (const auto& item : model.named_parameters()) {  // in place of the rounded ones
    checkpoint.tensors[model_tensor(item.key())] = optimizer.master_of(item.value());
  }
  checkpoint.tensors[optimizer_tensor(0)] = torch::stack(updates);
  checkpoint.tensors["rng.cpu"] = generator_state(torch::kCPU);
  if (device.is_cuda()) checkpoint.tensors["rng.cuda"] = generator_state(device);
}

void restore_training(const Checkpoint& checkpoint,
                      const std::string& file,
                      const torch::nn::Module& model,
                      train::FusedAdam& optimizer,
                      torch::Device device) {
  const torch::NoGradGuard no_grad;
  const auto parameters = model.parameters();
  const auto count = parameters.size();
  const auto next = optimizer_tensor(1 + 2 * count);
  check(checkpoint.tensors.count(next) == 0, file, next, "not to be there");
  const auto like = torch::empty({static_cast<int64_t>(count)}, torch::kFloat32);
  const auto& updates = tensor_like(checkpoint, optimizer_tensor(0), like, file);
  check(updates.ge(0).all().item<bool>(), file, optimizer_tensor(0), "to be counts from 0");
  for (size_t i = 0; i < count; ++i) {
    auto& state = optimizer.state_of(parameters[i]);
    const auto mean = optimizer_tensor(1 + i);
    const auto square = optimizer_tensor(1 + count + i);
    const auto& squares = tensor_like(checkpoint, square, state.exp_avg_sq(), file);
    check(squares.ge(0).all().item<bool>(), file, square, "to be means of squares, from 0");
    state.step().copy_(updates[static_cast<int64_t>(i)]);
    state.exp_avg().copy_(tensor_like(checkpoint, mean, state.exp_avg(), file));
    state.exp_avg_sq().copy_(squares);
  }
  for (const auto& item : model.named_parameters()) {
    auto master = optimizer.master_of(item.value());
    if (master.is_same(item.value())) continue;
    master.copy_(tensor_like(checkpoint, model_tensor(item.key()), master, file));
  }
  set_generator_state(torch::kCPU, checkpoint, "rng.cpu", file);
  if (device.is_cuda() && checkpoint.tensors.count("rng.cuda") != 0) {
    set_generator_state(device, checkpoint, "rng.cuda", file);
  }
}

}  // namespace evenkeel::examples
