// SPDX-License-Identifier: MIT
#include "translate_lines.hpp"

#include "corpus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace evenkeel::examples::translation {

void translate_lines(TrainedModel& trained,
                     LineReader& reader,
                     FileWriter& writer,
                     const TranslateLinesOptions& options,
                     const std::function<void(const std::string& text)>& warn) {
  const auto device = device_of(trained.config.device);
  const bool bfloat16 = trained.config.dtype == "bfloat16";
  const auto limit = static_cast<std::size_t>(options.max_length);
  std::vector<std::vector<int64_t>> waiting;
  std::size_t longest = 0;
  const auto translate_waiting = [&] {
    for (const auto& ids : translate(*trained.model, waiting, device, bfloat16, options.decode)) {
      writer.write(trained.vocabularies.target.decode(ids) + "\n");
    }
    waiting.clear();
    longest = 0;
  };
  for (std::string line; reader.next(line);) {
    auto ids = trained.vocabularies.source.encode(enough_of(line, options.max_length));
    if (ids.size() > limit) {
      ids.resize(limit);
      warn(
          fmt::format("line {} has more than {} pieces, and only those are translated: see "
                      "--max-length",
                      reader.count(),
                      limit));
    }
    longest = std::max(longest, ids.size() + 1);
    waiting.push_back(std::move(ids));
    const auto entries = static_cast<double>(waiting.size()) * static_cast<double>(longest) *
                         static_cast<double>(options.decode.beam);
    const auto full = static_cast<double>(options.decode.batch_tokens) *
                      static_cast<double>(options.batches_ahead);
    if (entries >= full || reader.waits()) translate_waiting();
  }
  translate_waiting();
}

}  // namespace evenkeel::examples::translation
