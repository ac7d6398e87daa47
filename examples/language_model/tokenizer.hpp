// SPDX-License-Identifier: MIT
#pragma once

#include "common/vocabulary.hpp"
#include "documents.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel::examples::language_model {

/// Cuts documents into tokens: bytes, or the pieces of a vocabulary. A document ends with a token
/// of its own.
///
/// Bytes lose nothing. SentencePiece takes several spaces for one and knows no line ends: between
/// the lines of a document stands a token that is `kBos` elsewhere.
class Tokenizer {
 public:
  /// Bytes: 256, and the end of a document.
  Tokenizer() = default;
  /// The pieces of a vocabulary.
  explicit Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  /// Number of different tokens.
  int64_t size() const { return vocabulary_ ? vocabulary_->size() : kBytes + 1; }

  /// The token that ends a document.
  int64_t end() const { return vocabulary_ ? kEos : kBytes; }

  /// Tokens that no text should be written with: padding and the piece for unknown characters.
  std::vector<int64_t> never() const {
    return vocabulary_ ? std::vector<int64_t>{kPad, kUnk} : std::vector<int64_t>{};
  }

  /// The tokens of a text, without an end.
  std::vector<int64_t> encode(const std::string& text) const;

  /// The tokens of documents, one after another, each with its end.
  std::vector<int64_t> encode(const std::vector<Document>& documents) const;

  /// The text of tokens, up to the first end of a document. Bytes that are no UTF-8 become U+FFFD.
  std::string decode(const std::vector<int64_t>& tokens) const;

  /// The vocabulary, unless tokens are bytes.
  const std::optional<Vocabulary>& vocabulary() const { return vocabulary_; }

 private:
  static constexpr int64_t kBytes = 256;

  void append(const std::string& line, std::vector<int64_t>& tokens) const;

  std::optional<Vocabulary> vocabulary_;
};

}  // namespace evenkeel::examples::language_model
