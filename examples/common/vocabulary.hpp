// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}  // namespace sentencepiece

namespace evenkeel::examples {

inline constexpr int64_t kPad = 0;  ///< Pads the rows of a batch.
inline constexpr int64_t kUnk = 1;  ///< Replaces characters that are not in the vocabulary.
inline constexpr int64_t kBos = 2;  ///< Starts the decoder's input.
inline constexpr int64_t kEos = 3;  ///< Ends a sentence.

/// A vocabulary that cannot be trained, loaded or used; the message says why.
class VocabularyError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The algorithm by which SentencePiece chooses pieces and segments sentences.
enum class PieceModel {
  kUnigram,  ///< Kudo 2018, https://arxiv.org/abs/1804.10959
  kBpe,      ///< Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
};

/// Options for `Vocabulary::train`.
struct VocabularyOptions {
  /// The algorithm.
  PieceModel model = PieceModel::kUnigram;
  /// Share of the text's characters that are covered by pieces, 0.98 to 1; the rarest become
  /// `kUnk`.
  double character_coverage = 0.9995;
  /// Whether unknown characters are encoded as bytes, so that there is no `kUnk`; this uses 256
  /// pieces.
  bool byte_fallback = false;
  /// SentencePiece's normalization: identity keeps every character, in translations too; nmt_nfkc,
  /// nfkc, nmt_nfkc_cf and nfkc_cf take some for the same.
  std::string normalization = "identity";
  /// Threads; a different number may round differently and so give other pieces.
  int64_t num_threads = 4;
  /// Maximal number of sentences to train on, taken evenly from the text; 0 for all. 100,000 can
  /// take a minute on two cores.
  int64_t max_sentences = 100'000;
};

/// Encodes text as piece ids and decodes it; wraps SentencePiece.
///
/// Copies share one immutable model, so all members may be called from several threads.
class Vocabulary {
 public:
  /// Trains on sentences in memory. The same text and options give the same bytes.
  ///
  /// `size` is a limit that includes special pieces: a small text gives fewer pieces, see `size()`.
  /// Sentences of more than 4192 bytes are skipped. Throws `VocabularyError` for options out of
  /// range, a text without characters, and a `size` that is too small for the characters.
  static Vocabulary train(const std::vector<std::string>& sentences,
                          int64_t size,
                          const VocabularyOptions& options = {});

  /// Trains one vocabulary on two lists of sentences, such as both sides of parallel text.
  static Vocabulary train(const std::vector<std::string>& sentences,
                          const std::vector<std::string>& others,
                          int64_t size,
                          const VocabularyOptions& options = {});

  /// Loads a vocabulary from the bytes of `serialized()`.
  ///
  /// Any SentencePiece model with unk, bos and eos will do, whatever their numbers in it: its
  /// pieces are renumbered, so that `kPad`, `kUnk`, `kBos` and `kEos` come first, and a pad is
  /// added where there is none. Throws `VocabularyError` for other bytes.
  static Vocabulary load(std::string_view bytes);

  /// A vocabulary from a file that holds such bytes; FileError where it cannot be read.
  static Vocabulary load_file(const std::string& file);

  /// The model as SentencePiece's own programs read it, too.
  const std::string& serialized() const { return *bytes_; }

  /// Returns the piece ids of `text`, without `kBos` and `kEos`, even if the text contains "</s>".
  std::vector<int64_t> encode(std::string_view text) const;

  /// Returns the text up to the first `kEos`; `kPad` and `kBos` are skipped, `kUnk` becomes "
  /// \u2047 ".
  ///
  /// Throws `VocabularyError` for an id that is not a piece.
  std::string decode(const std::vector<int64_t>& ids) const;

  /// The text of every piece, by its id. The special ones are `<pad>`, `<unk>`, `<s>` and `</s>`,
  /// whatever the model calls them.
  std::vector<std::string> pieces() const;

  /// Number of pieces, including the four special ones.
  int64_t size() const { return size_; }

 private:
  Vocabulary() = default;

  std::shared_ptr<const std::string> bytes_;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor_;
  std::shared_ptr<const std::vector<int64_t>> ids_;    // of the model's pieces, by their ids there
  std::shared_ptr<const std::vector<int>> model_ids_;  // the other way; -1 for a pad that is added
  int64_t size_ = 0;
};

}  // namespace evenkeel::examples
