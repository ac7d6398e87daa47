// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/transformer.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace evenkeel::examples::translation {

/// Models that translate together, at least one, all of the same vocabularies.
using Models = std::vector<nn::TransformerImpl*>;

/// Predicts the next pieces of translations by several models: the probability of a piece is the
/// mean of theirs, as in fairseq. Each has its own encoder output and cache.
class Ensemble {
 public:
  /// Encodes src (B, S). Each sentence has `beam` rows, one after another. `covers` says that
  /// `coverage()` is wanted. Throws c10::Error for a model whose last layer has no cross-attention
  /// that tells its weights then.
  Ensemble(const Models& models, const torch::Tensor& src, int64_t beam, bool covers = false);

  /// log P, float32 (rows, pieces), of the pieces that follow `last` (rows, 1).
  torch::Tensor log_probabilities(const torch::Tensor& last);

  /// sum_i log(min(c_i, 1)), float32 (rows): c_i is the sum of all steps' attention to piece i of
  /// the source; pieces without any have no share.
  torch::Tensor coverage() const;

  /// Goes on with those rows. `same_sentences` says that each stays a row of its sentence.
  void select(const torch::Tensor& rows, bool same_sentences);

 private:
  struct Member {
    nn::TransformerImpl* model;
    nn::EncoderOutput memory;
    nn::DecoderCache cache;
  };

  std::vector<Member> members_;
  bool covers_;
  torch::Tensor attention_;  // summed over the steps, (rows, S)
};

}  // namespace evenkeel::examples::translation
