// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "common/device.hpp"

#include <evenkeel/train/cross_entropy.hpp>

namespace evenkeel::examples::language_model {

nn::LanguageModel<> make_model(const Config& config, int64_t vocab_size) {
  check_memory(config, vocab_size, 1);
  return {configured_scheme(config), model_options(config, vocab_size)};
}

void check_memory(const Config& config, int64_t vocab_size, int64_t numbers) {
  const auto width = static_cast<double>(config.embed_dim);
  const auto inner = static_cast<double>(config.dim_feedforward);
  const double layer = width * (4.0 * width + (config.activation == "swiglu" ? 3.0 : 2.0) * inner);
  const auto rows =
      static_cast<double>(vocab_size) +
      (config.positions == "learned" ? static_cast<double>(config.sequence_length) : 0.0);
  check_memory_for(static_cast<double>(config.num_layers) * layer + rows * width,
                   numbers,
                   "--num-layers, --embed-dim, --dim-feedforward, --vocab-size");
}

torch::Tensor summed_loss(nn::LanguageModelImpl& model, const torch::Tensor& rows, bool bfloat16) {
  const Autocast autocast(rows.device(), bfloat16);
  const auto length = rows.size(1) - 1;
  const auto logits = model.forward(rows.narrow(1, 0, length));
  return train::cross_entropy_sum(logits.flatten(0, 1), rows.narrow(1, 1, length).flatten());
}

}  // namespace evenkeel::examples::language_model
