// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "common/activations.hpp"
#include "common/vocabulary.hpp"

#include <evenkeel/train/cross_entropy.hpp>

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
              .activation(activation_of_option(config.activation))
              .logits_bias(config.logits_bias != 0)
              .input_scale(config.input_scale != 0)
              .dropout(config.dropout)
              .attention_dropout(config.attention_dropout)
              .activation_dropout(config.activation_dropout)
              .src_word_dropout(config.dropout_src)
              .tgt_word_dropout(config.dropout_trg)
              .encoder_layerdrop(config.encoder_layerdrop)
              .decoder_layerdrop(config.decoder_layerdrop)
              .pad_id(kPad)
              .vocab_size(sizes.target)
              .src_vocab_size(sizes.source)
              .tie_embeddings(sizes.joint)};
}

double parameter_count(const Config& config, const VocabularySizes& sizes) {
  const auto width = static_cast<double>(config.embed_dim);
  const auto inner = static_cast<double>(config.dim_feedforward);
  const double attention = 4.0 * width * width;
  const double feed_forward = (config.activation == "swiglu" ? 3.0 : 2.0) * width * inner;
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

namespace {

struct Predictions {
  torch::Tensor logits;    // (passes * tokens, pieces)
  torch::Tensor expected;  // (passes * tokens)
};

// Of a batch that runs `passes` times, as one batch: each row has dropout of its own.
Predictions predict(nn::TransformerImpl& model,
                    const std::vector<torch::Tensor>& batch,
                    int64_t passes) {
  const auto repeated = [&](const torch::Tensor& rows) {
    return passes == 1 ? rows : rows.repeat({passes, 1});
  };
  const auto memory = model.encode(repeated(batch.at(0)));
  const auto hidden = model.decode(repeated(batch.at(1)), memory, nullptr);
  return {model.project(hidden).flatten(0, 1), repeated(batch.at(2)).flatten()};
}

torch::Tensor cross_entropy(const Predictions& predictions, double label_smoothing) {
  return train::cross_entropy_sum(predictions.logits, predictions.expected, label_smoothing, kPad);
}

}  // namespace

torch::Tensor summed_loss(nn::TransformerImpl& model,
                          const std::vector<torch::Tensor>& batch,
                          bool bfloat16,
                          double label_smoothing) {
  const Autocast autocast(batch.at(0).device(), bfloat16);
  return cross_entropy(predict(model, batch, 1), label_smoothing);
}

torch::Tensor summed_rdrop_loss(nn::TransformerImpl& model,
                                const std::vector<torch::Tensor>& batch,
                                bool bfloat16,
                                double label_smoothing,
                                double weight) {
  const Autocast autocast(batch.at(0).device(), bfloat16);
  const auto predictions = predict(model, batch, 2);
  const auto both = predictions.logits.log_softmax(-1, torch::kFloat32).chunk(2);
  const auto& p = both[0];
  const auto& q = both[1];
  // KL(p || q) + KL(q || p) of each token
  const auto divergence = ((p.exp() - q.exp()) * (p - q)).sum(-1);
  const auto padding = predictions.expected.chunk(2)[0] == kPad;
  return (cross_entropy(predictions, label_smoothing) +
          weight / 2.0 * divergence.masked_fill(padding, 0.0).sum()) /
         2.0;
}

}  // namespace evenkeel::examples::translation
