// SPDX-License-Identifier: MIT
#pragma once

#include <torch/arg.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {

/// The vocabulary of a Marian folder: what its tokenizer needs. The pieces are the texts of the
/// token ids, from 0; the others are the contents of SentencePiece model files.
struct MarianVocabulary {
  /// One vocabulary for both sides.
  MarianVocabulary(std::vector<std::string> both, std::string sentencepiece)
      : source(std::move(both)),
        target(source),
        source_sentencepiece(std::move(sentencepiece)),
        target_sentencepiece(source_sentencepiece) {}
  MarianVocabulary(std::vector<std::string> source_,
                   std::string source_sentencepiece_,
                   std::vector<std::string> target_,
                   std::string target_sentencepiece_)
      : source(std::move(source_)),
        target(std::move(target_)),
        source_sentencepiece(std::move(source_sentencepiece_)),
        target_sentencepiece(std::move(target_sentencepiece_)) {}

  std::vector<std::string> source;
  std::vector<std::string> target;
  std::string source_sentencepiece;
  std::string target_sentencepiece;
};

/// Options for `export_marian`, e.g. `MarianOptions().max_length(256)`.
struct MarianOptions {
  /// The piece that starts the decoder's input. Default: `<s>`
  TORCH_ARG(std::string, start) = "<s>";
  /// The piece that ends a source and a translation. Default: `</s>`
  TORCH_ARG(std::string, eos) = "</s>";
  /// The piece of what is in no piece. Default: `<unk>`
  TORCH_ARG(std::string, unk) = "<unk>";
  /// Rows of the table of positions: no longer text is translated. Default: 1024
  TORCH_ARG(int64_t, max_positions) = 1024;
  /// Tokens after which `generate` ends a translation. Default: 512
  TORCH_ARG(int64_t, max_length) = 512;
  /// Pieces that `generate` never writes. Default: none
  TORCH_ARG(std::vector<std::string>, suppress);
  /// Files to add to the folder, contents by name, e.g. a README. Default: none
  using Files = std::map<std::string, std::string>;
  TORCH_ARG(Files, files);
};

}  // namespace evenkeel
