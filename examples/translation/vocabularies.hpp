// SPDX-License-Identifier: MIT
#pragma once

#include "common/vocabulary.hpp"

#include <cstdint>
#include <utility>

namespace evenkeel::examples::translation {

/// What a model has to know of its vocabularies.
struct VocabularySizes {
  int64_t source;
  int64_t target;
  bool joint;  ///< Whether they are the same, and with it the embeddings.

  /// Rows of the embedding matrices together, the projection to the vocabulary included.
  int64_t rows() const { return joint ? target : source + 2 * target; }
};

/// The vocabularies of a model: one for both sides, or one for each.
struct Vocabularies {
  explicit Vocabularies(const Vocabulary& both) : source(both), target(both), joint(true) {}
  Vocabularies(Vocabulary source_, Vocabulary target_)
      : source(std::move(source_)), target(std::move(target_)), joint(false) {}

  Vocabulary source;  ///< Encodes what is translated.
  Vocabulary target;  ///< Encodes and decodes translations.
  bool joint;         ///< Whether they are the same, and with it the model's embeddings.

  VocabularySizes sizes() const { return {source.size(), target.size(), joint}; }
};

}  // namespace evenkeel::examples::translation
