// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "vocabulary.hpp"

#include <evenkeel/residual/registry.hpp>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/cuda.h>

namespace evenkeel::translation {

nn::Transformer<> make_model(const Config& config, int64_t vocab_size) {
  return {find_scheme(config.scheme),
          nn::TransformerOptions()
              .encoder_layers(config.encoder_layers)
              .decoder_layers(config.decoder_layers)
              .embed_dim(config.embed_dim)
              .num_heads(config.num_heads)
              .dim_feedforward(config.dim_feedforward)
              .dropout(config.dropout)
              .attention_dropout(config.attention_dropout)
              .activation_dropout(config.activation_dropout)
              .pad_id(kPad)
              .vocab_size(vocab_size)};
}

torch::Device device_of(const Config& config) {
  if (config.device == "auto") return torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  try {
    const torch::Device device(config.device);
    if (device.is_cpu()) return device;
    if (device.is_cuda()) {
      const auto count = torch::cuda::device_count();
      if (device.has_index() ? device.index() < count : count > 0) return device;
      throw ConfigError(fmt::format("--device: expected one of {} CUDA devices here, but got {}",
                                    count,
                                    config.device));
    }
  } catch (const c10::Error&) {  // not the name of a device
  }
  throw ConfigError(
      fmt::format("--device: expected auto, cpu, cuda or cuda:N, but got {}", config.device));
}

void prefer_short_attention() {
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseCuDNN(false);
}

Autocast::Autocast(torch::Device device, bool enabled) : type_(device.type()), enabled_(enabled) {
  if (!enabled_) return;
  before_ = at::autocast::is_autocast_enabled(type_);
  at::autocast::set_autocast_enabled(type_, true);
  at::autocast::set_autocast_dtype(type_, torch::kBFloat16);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (!enabled_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(type_, before_);
}

torch::Tensor to_tensor(const std::vector<int64_t>& ids,
                        int64_t rows,
                        int64_t columns,
                        torch::Device device) {
  auto tensor =
      torch::empty({rows, columns}, torch::dtype(torch::kInt64).pinned_memory(device.is_cuda()));
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor.to(device, /*non_blocking=*/true);
}

}  // namespace evenkeel::translation
