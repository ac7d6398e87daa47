// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "vocabulary.hpp"

#include <evenkeel/residual/admin.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/tfixup.hpp>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/cuda.h>

#include <utility>

namespace evenkeel::translation {

namespace {

template <typename Scheme>
class ModelOf final : public TranslationModel {
 public:
  explicit ModelOf(const nn::TransformerOptions& options) : model_(options) {}

  nn::Memory encode(const torch::Tensor& src) override { return model_->encode(src); }
  torch::Tensor decode(const torch::Tensor& tgt,
                       const nn::Memory& memory,
                       nn::DecoderCache* cache) override {
    return model_->decode(tgt, memory, cache);
  }
  torch::Tensor project(const torch::Tensor& hidden) override { return model_->project(hidden); }
  torch::nn::Module& module() override { return *model_; }

 private:
  nn::Transformer<Scheme> model_;
};

}  // namespace

std::unique_ptr<TranslationModel> make_model(const Config& config, int64_t vocab_size) {
  const auto options = nn::TransformerOptions()
                           .encoder_layers(config.encoder_layers)
                           .decoder_layers(config.decoder_layers)
                           .embed_dim(config.embed_dim)
                           .num_heads(config.num_heads)
                           .dim_feedforward(config.dim_feedforward)
                           .dropout(config.dropout)
                           .attention_dropout(config.attention_dropout)
                           .activation_dropout(config.activation_dropout)
                           .pad_id(kPad)
                           .vocab_size(vocab_size);
  if (config.scheme == "post") return std::make_unique<ModelOf<PostNorm>>(options);
  if (config.scheme == "pre") return std::make_unique<ModelOf<PreNorm>>(options);
  if (config.scheme == "admin") return std::make_unique<ModelOf<Admin>>(options);
  if (config.scheme == "admin-o1") return std::make_unique<ModelOf<AdminO1>>(options);
  if (config.scheme == "tfixup") return std::make_unique<ModelOf<TFixup>>(options);
  throw ConfigError(fmt::format("--scheme: there is none called {}", config.scheme));
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
  } catch (const c10::Error&) {  // no name of a device at all
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
