// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "common/vocabulary.hpp"

#include <ATen/ATen.h>

namespace evenkeel::examples::translation {

nn::Transformer<> make_model(const Config& config, const VocabularySizes& sizes) {
  check_memory(config, sizes, 1);
  return {configured_scheme(config),
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
              .vocab_size(sizes.target)
              .src_vocab_size(sizes.source)
              .tie_embeddings(sizes.joint)};
}

double parameter_count(const Config& config, const VocabularySizes& sizes) {
  const auto width = static_cast<double>(config.embed_dim);
  const auto inner = static_cast<double>(config.dim_feedforward);
  const double attention = 4.0 * width * width;
  const double feed_forward = 2.0 * width * inner;
  return static_cast<double>(config.encoder_layers) * (attention + feed_forward) +
         static_cast<double>(config.decoder_layers) * (2.0 * attention + feed_forward) +
         static_cast<double>(sizes.rows()) * width;
}

void check_memory(const Config& config, const VocabularySizes& sizes, int64_t numbers) {
  check_memory_for(
      parameter_count(config, sizes),
      numbers,
      "--encoder-layers, --decoder-layers, --embed-dim, --dim-feedforward, --vocab-size");
}

torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const Batch& batch,
                          torch::Device device,
                          bool bfloat16,
                          double label_smoothing) {
  const auto on_device = [&](const std::vector<int64_t>& ids, int64_t columns) {
    return to_tensor(ids, batch.sentences, columns, device);
  };
  const Autocast autocast(device, bfloat16);
  const auto memory = model.encode(on_device(batch.source, batch.source_length));
  const auto hidden =
      model.decode(on_device(batch.target_input, batch.target_length), memory, nullptr);
  return at::cross_entropy_loss(model.project(hidden).to(torch::kFloat32).flatten(0, 1),
                                on_device(batch.target_output, batch.target_length).flatten(),
                                /*weight=*/{},
                                at::Reduction::Sum,
                                kPad,
                                label_smoothing);
}

}  // namespace evenkeel::examples::translation
