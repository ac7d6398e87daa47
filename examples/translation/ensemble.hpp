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
  /// Encodes src (B, S). Each sentence has `beam` rows, one after another.
  Ensemble(const Models& models, const torch::Tensor& src, int64_t beam);

  /// log P, float32 (rows, pieces), of the pieces that follow `last` (rows, 1).
  torch::Tensor log_probabilities(const torch::Tensor& last);

  /// Goes on with those rows. `same_sentences` says that each stays a row of its sentence.
  void select(const torch::Tensor& rows, bool same_sentences);

 private:
  struct Member {
    nn::TransformerImpl* model;
    nn::EncoderOutput memory;
    nn::DecoderCache cache;
  };

  std::vector<Member> members_;
};

}  // namespace evenkeel::examples::translation
