// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/fold.hpp>
#include <evenkeel/residual/registry.hpp>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <string>
#include <vector>

/// Small models, and what the tests of `fold` ask of them.
namespace evenkeel::test {

inline nn::TransformerOptions small_transformer() {
  return nn::TransformerOptions()
      .encoder_layers(4)
      .decoder_layers(5)
      .embed_dim(8)
      .num_heads(2)
      .dim_feedforward(12)
      .vocab_size(11)
      .dropout(0.0);
}

inline nn::LanguageModelOptions small_language_model() {
  return nn::LanguageModelOptions()
      .num_layers(4)
      .embed_dim(8)
      .num_heads(2)
      .dim_feedforward(12)
      .vocab_size(11)
      .pad_id(0)
      .dropout(0.0);
}

/// Token ids; the last ones of the second row are padding.
inline torch::Tensor source() {
  return torch::tensor({{3, 1, 4, 1, 5}, {2, 6, 5, 0, 0}}, torch::kInt64);
}
inline torch::Tensor target() {
  return torch::tensor({{2, 7, 1, 8}, {2, 8, 1, 0}}, torch::kInt64);
}
inline nn::AttentionMask padding_mask() {
  return nn::AttentionMask::padding(source().eq(0));
}

/// Moves every parameter away from its initial value, gains too.
inline void scramble(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) {
    parameter.add_(torch::randn_like(parameter), 0.25);
  }
}

/// A model that is not as it began.
inline nn::Transformer<> trained(const std::string& scheme,
                                 const nn::TransformerOptions& options = small_transformer()) {
  nn::Transformer<> model(find_scheme(scheme), options);
  scramble(*model);
  model->eval();
  return model;
}

inline torch::Tensor logits(nn::Transformer<>& model) {
  return model->forward(source(), target());
}

/// The largest difference is at most 1e-5 (float64: 1e-12) of the largest element.
inline ::testing::AssertionResult same_outputs(const torch::Tensor& actual,
                                               const torch::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || actual.scalar_type() != expected.scalar_type()) {
    return ::testing::AssertionFailure() << "shapes or dtypes differ";
  }
  const auto a = actual.detach().to(torch::kCPU, torch::kFloat64);
  const auto b = expected.detach().to(torch::kCPU, torch::kFloat64);
  const double relative = ((a - b).abs().max() / b.abs().max()).item<double>();
  const double tolerance = expected.scalar_type() == torch::kFloat64 ? 1e-12 : 1e-5;
  if (relative <= tolerance) return ::testing::AssertionSuccess();  // not with NaN
  return ::testing::AssertionFailure() << "relative difference " << relative;
}

/// No residual has a gain, and every one has a norm at its input, or its sum, or none.
inline ::testing::AssertionResult is_plain(torch::nn::Module& model) {
  int residuals = 0;
  for (const auto& module : model.modules()) {
    const auto* residual = dynamic_cast<const ResidualImpl*>(module.get());
    if (residual == nullptr) continue;
    ++residuals;
    const auto& norms = residual->norms();
    if (residual->omega.defined() || residual->gain_of_branch().defined() ||
        residual->norm_gain() != 1.0) {
      return ::testing::AssertionFailure() << "a gain is left: " << *residual;
    }
    if (norms != Norms::none() && norms != Norms::at_input() && norms != Norms::at_sum()) {
      return ::testing::AssertionFailure() << "not plain: " << *residual;
    }
  }
  if (residuals == 0) return ::testing::AssertionFailure() << "no residual";
  return ::testing::AssertionSuccess();
}

/// Greedy search of six tokens, with a cache; the hidden states of every step.
inline torch::Tensor generate(nn::TransformerImpl& model) {
  const auto memory = model.encode(source());
  nn::DecoderCache cache;
  auto token = torch::full({2, 1}, 2, torch::kInt64);
  std::vector<torch::Tensor> logits;
  for (int i = 0; i < 6; ++i) {
    logits.push_back(model.project(model.decode(token, memory, &cache)));
    token = logits.back().argmax(-1);
  }
  return torch::cat(logits, 1);
}

/// A decoder layer whose attentions have three matrices each.
template <typename S>
nn::Layer separate_layer(int64_t num_layers, int64_t layer, int64_t kv_heads) {
  const auto attention = nn::MultiHeadAttentionOptions(8, 2).packed(false).num_kv_heads(kv_heads);
  const auto residual = [&](int64_t sublayer) {
    const auto position = Position::decoder(num_layers, layer, sublayer).with_encoder(3);
    return Residual<>(scheme_of<S>(), ResidualOptions(position, 8));
  };
  return nn::Layer(std::vector<nn::Sublayer>{
      {"self_attn", SublayerKind::kSelfAttention, nn::MultiHeadAttention(attention), residual(0)},
      {"cross_attn", SublayerKind::kCrossAttention, nn::MultiHeadAttention(attention), residual(1)},
      {"feed_forward",
       SublayerKind::kFeedForward,
       nn::FeedForward(nn::FeedForwardOptions(8, 12)),
       residual(2)}});
}

}  // namespace evenkeel::test
