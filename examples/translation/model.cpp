// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "common/vocabulary.hpp"

#include <evenkeel/train/cross_entropy.hpp>

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

std::vector<torch::Tensor> to_tensors(const Batch& batch, torch::Device device) {
  return {to_tensor(batch.source, batch.sentences, batch.source_length, device),
          to_tensor(batch.target_input, batch.sentences, batch.target_length, device),
          to_tensor(batch.target_output, batch.sentences, batch.target_length, device)};
}

torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const std::vector<torch::Tensor>& batch,
                          bool bfloat16,
                          double label_smoothing) {
  const auto& source = batch.at(0);
  const auto& target_input = batch.at(1);
  const auto& target_output = batch.at(2);
  const Autocast autocast(source.device(), bfloat16);
  const auto hidden = model.decode(target_input, model.encode(source), nullptr);
  return train::cross_entropy_sum(model.project(hidden).flatten(0, 1),
                                  target_output.flatten(),
                                  label_smoothing,
                                  kPad);
}

}  // namespace evenkeel::examples::translation
