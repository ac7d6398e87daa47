// SPDX-License-Identifier: MIT
#pragma once

#include "parallel_text.hpp"

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}  // namespace sentencepiece

namespace evenkeel::translation {

inline constexpr int64_t kPad = 0;  ///< Fills up the rows of a batch.
inline constexpr int64_t kUnk = 1;  ///< Stands for characters that the vocabulary lacks.
inline constexpr int64_t kBos = 2;  ///< Starts the decoder's input.
inline constexpr int64_t kEos = 3;  ///< Ends a sentence.

/// A vocabulary that cannot be trained, loaded or used; the message says why.
class VocabularyError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How SentencePiece chooses pieces and cuts sentences into them.
enum class PieceModel {
  kUnigram,  ///< Kudo 2018, https://arxiv.org/abs/1804.10959
  kBpe,      ///< Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
};

/// Options for `Vocabulary::train`.
struct VocabularyOptions {
  /// How pieces are chosen.
  PieceModel model = PieceModel::kUnigram;
  /// Share of the text's characters that get pieces, 0.98 to 1; the rarest are left to `kUnk`.
  double character_coverage = 0.9995;
  /// Spell missing characters as bytes, so that nothing is unknown; takes up 256 pieces.
  bool byte_fallback = false;
  /// SentencePiece's normalization: nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf or identity.
  std::string normalization = "nmt_nfkc";
  /// Threads; a different number may round differently and so give other pieces.
  int64_t num_threads = 4;
  /// Sentences to train on at most, taken evenly from the text; 100,000 of them can take a minute
  /// on two cores. 0: all of them
  int64_t max_sentences = 100'000;
};

/// Cuts text into pieces with numbers and puts it together again; wraps SentencePiece.
///
/// Copies share one model, which never changes: all members may be called from several threads.
class Vocabulary {
 public:
  /// Trains on sentences in memory. The same text and options give the same bytes.
  ///
  /// `size` is a limit, special pieces included: a text too small to fill it gives fewer pieces,
  /// see `size()`. Sentences of over 4192 bytes are passed over. Throws `VocabularyError` for
  /// options out of range, a text without characters and a `size` without room for them.
  static Vocabulary train(const std::vector<std::string>& sentences,
                          int64_t size,
                          const VocabularyOptions& options = {});

  /// Trains one vocabulary for both sides.
  static Vocabulary train(const ParallelText& text,
                          int64_t size,
                          const VocabularyOptions& options = {});

  /// A vocabulary from the bytes that `serialized()` gave.
  ///
  /// Throws `VocabularyError` if the bytes are no SentencePiece model, or one whose special pieces
  /// have other numbers than `kPad`, `kUnk`, `kBos` and `kEos`.
  static Vocabulary load(std::string_view bytes);

  /// A vocabulary from a file that holds such bytes.
  static Vocabulary load_file(const std::string& file);

  /// Writes `serialized()`; what was in the file before is lost.
  void save_file(const std::string& file) const;

  /// The model as SentencePiece's own programs read it, too.
  const std::string& serialized() const { return *bytes_; }

  /// The pieces of `text`, without `kBos` and `kEos`; also text like "</s>" never gives these.
  std::vector<int64_t> encode(std::string_view text) const;

  /// Text up to the first `kEos`; `kPad` and `kBos` are passed over, `kUnk` becomes " \u2047 ".
  ///
  /// Throws `VocabularyError` for a number that is no piece.
  std::string decode(const std::vector<int64_t>& ids) const;

  /// Number of pieces, the four special ones included.
  int64_t size() const { return size_; }

 private:
  Vocabulary() = default;

  std::shared_ptr<const std::string> bytes_;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor_;
  int64_t size_ = 0;
};

}  // namespace evenkeel::translation
