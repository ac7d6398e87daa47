// SPDX-License-Identifier: MIT
#include "update_step.hpp"

#include "checkpoint_parts.hpp"
#include "training_state.hpp"

#include <evenkeel/residual/training_step.hpp>

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace evenkeel::examples {

UpdateStep::UpdateStep(std::shared_ptr<torch::nn::Module> model,
                       std::unique_ptr<train::FusedAdam> optimizer,
                       torch::Device device,
                       BatchOf batch_of,
                       LossOf loss_of,
                       Schedule schedule,
                       double smoothing,
                       bool graphs)
    : model_(std::move(model)),
      optimizer_(std::move(optimizer)),
      device_(device),
      step_(
          *model_,
          *optimizer_,
          // the last tensor is the number of tokens of the update
          [loss_of = std::move(loss_of)](const auto& batch) {
            return loss_of(batch) / batch.back();
          },
          train::GraphedStepOptions().graphs(graphs)),
      batch_of_(std::move(batch_of)),
      schedule_(std::move(schedule)),
      device_loss_(torch::zeros({}, torch::dtype(torch::kFloat64).device(device))) {
  if (smoothing > 0.0) average_.emplace(model_->parameters(), smoothing);
}

int64_t UpdateStep::update(const std::vector<std::vector<int64_t>>& batches) {
  std::vector<train::GraphedStep::Batch> tensors;
  int64_t tokens = 0;
  for (const auto& indices : batches) {
    auto batch = batch_of_(indices);
    tokens += batch.tokens;
    tensors.push_back(std::move(batch.tensors));
  }
  const auto count = torch::full({}, tokens, torch::dtype(torch::kFloat32).device(device_));
  for (auto& batch : tensors) batch.push_back(count);
  if (gains_change_) gains_change_ = set_training_step(*model_, state_.updates + 1);
  optimizer_->set_lr(state_.lr_scale * schedule_(state_.updates + 1));
  device_loss_.add_(step_(tensors), static_cast<double>(tokens));
  ++state_.updates;
  if (average_) average_->update(state_.updates);
  state_.tokens += tokens;
  state_.window_tokens += tokens;
  return tokens;
}

double UpdateStep::learning_rate() const {
  return state_.lr_scale * schedule_(state_.updates);
}

double UpdateStep::grad_norm() const {
  return optimizer_->grad_norm().item<double>();
}

double UpdateStep::last_loss() const {
  return state_.window_loss / static_cast<double>(std::max<int64_t>(state_.window_tokens, 1));
}

double UpdateStep::window_loss() {
  state_.window_loss += device_loss_.item<double>();
  device_loss_.zero_();
  return last_loss();
}

UpdateStep::LeftOut UpdateStep::begin_window() {
  const auto total = optimizer_->skipped().item<int64_t>();
  const auto skipped = total - std::exchange(skipped_, total);
  const auto updates = state_.updates - std::exchange(window_began_, state_.updates);
  skipped_in_a_row_ = skipped == updates ? skipped_in_a_row_ + skipped : 0;
  state_.window_loss = 0.0;
  state_.window_tokens = 0;
  return {skipped, skipped_in_a_row_};
}

bool UpdateStep::made() const {
  return optimizer_->grad_norm().isfinite().item<bool>();
}

std::unique_ptr<train::UseAverages> UpdateStep::use_averages() const {
  return average_ ? std::make_unique<train::UseAverages>(*average_) : nullptr;
}

bool UpdateStep::finite() {
  auto tensors = model_->parameters();
  if (average_) {
    tensors.insert(tensors.end(), average_->averages().begin(), average_->averages().end());
  }
  for (const auto& parameter : model_->parameters()) {
    const auto& state = optimizer_->state_of(parameter);
    tensors.push_back(state.exp_avg());
    tensors.push_back(state.exp_avg_sq());
  }
  for (const auto& buffer : model_->buffers()) tensors.push_back(buffer);
  return all_finite(tensors);
}

void UpdateStep::store(Checkpoint& checkpoint) {
  store_module(checkpoint, *model_);
  if (average_) store_averages(checkpoint, *model_, average_->averages());
  store_training(checkpoint, *model_, *optimizer_, device_);
}

void UpdateStep::restore(const Checkpoint& checkpoint,
                         const StepState& state,
                         const std::string& file) {
  restore_module(checkpoint, file, *model_);
  if (average_) restore_averages(checkpoint, file, *model_, average_->averages());
  restore_training(checkpoint, file, *model_, *optimizer_, device_);
  state_ = state;
  gains_change_ = true;
  device_loss_.zero_();
  optimizer_->zero_grad();
  window_began_ = state_.updates;
  skipped_in_a_row_ = 0;
}

}  // namespace evenkeel::examples
