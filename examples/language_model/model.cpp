// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "common/device.hpp"

#include <ATen/ATen.h>

namespace evenkeel::examples::language_model {

namespace {

Activation activation_of(const std::string& name) {
  return name == "relu"   ? Activation::kReLU
         : name == "gelu" ? Activation::kGELU
                          : Activation::kSwiGLU;
}

}  // namespace

nn::LanguageModel<> make_model(const Config& config, int64_t vocab_size) {
  check_memory(config, vocab_size, 1);
  return {configured_scheme(config),
          nn::LanguageModelOptions()
              .block(config.block)
              .num_layers(config.num_layers)
              .embed_dim(config.embed_dim)
              .num_heads(config.num_heads)
              .dim_feedforward(config.dim_feedforward)
              .activation(activation_of(config.activation))
              .dropout(config.dropout)
              .vocab_size(vocab_size)};
}

void check_memory(const Config& config, int64_t vocab_size, int64_t numbers) {
  const auto width = static_cast<double>(config.embed_dim);
  const auto inner = static_cast<double>(config.dim_feedforward);
  const double layer = width * (4.0 * width + (config.activation == "swiglu" ? 3.0 : 2.0) * inner);
  check_memory_for(
      static_cast<double>(config.num_layers) * layer + static_cast<double>(vocab_size) * width,
      numbers,
      "--num-layers, --embed-dim, --dim-feedforward, --vocab-size");
}

torch::Tensor summed_loss(nn::LanguageModelImpl& model, const torch::Tensor& rows, bool bfloat16) {
  const Autocast autocast(rows.device(), bfloat16);
  const auto length = rows.size(1) - 1;
  const auto logits = model.forward(rows.narrow(1, 0, length));
  return at::cross_entropy_loss(logits.to(torch::kFloat32).flatten(0, 1),
                                rows.narrow(1, 1, length).flatten(),
                                /*weight=*/{},
                                at::Reduction::Sum);
}

}  // namespace evenkeel::examples::language_model
