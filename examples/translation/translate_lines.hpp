// SPDX-License-Identifier: MIT
#pragma once

#include "common/files.hpp"
#include "common/line_reader.hpp"
#include "decode.hpp"
#include "run_folder.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace evenkeel::examples::translation {

/// Options for `translate_lines`.
struct TranslateLinesOptions {
  DecodeOptions decode;
  /// Of a longer line, only so many pieces are translated.
  int64_t max_length = 1000;
  /// Batches that are read before they are translated, sorted by length: 1 for a reader who waits.
  int64_t batches_ahead = 32;
  /// Writes all translations of the beam, a line each, as Moses and Marian do: `number ||| text |||
  /// LogProb= log-probability ||| score`, where numbers of lines are from 0.
  bool n_best = false;
};

/// Translates line by line by one model or several: each gives one line, in its place. What has
/// been read is translated and written once it fills the batches, and where the next line has not
/// yet arrived. `warn` is told of every line that is cut.
void translate_lines(const std::vector<TrainedModel>& ensemble,
                     LineReader& reader,
                     FileWriter& writer,
                     const TranslateLinesOptions& options,
                     const std::function<void(const std::string& text)>& warn);

}  // namespace evenkeel::examples::translation
