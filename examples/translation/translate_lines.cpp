// SPDX-License-Identifier: MIT
#include "translate_lines.hpp"

#include "corpus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace evenkeel::examples::translation {

namespace {

std::string n_best_line(int64_t number, const std::string& text, const Translation& translation) {
  return fmt::format("{} ||| {} ||| LogProb= {:.6f} ||| {:.6f}\n",
                     number,
                     text,
                     translation.log_probability,
                     translation.score);
}

}  // namespace

void translate_lines(const std::vector<TrainedModel>& ensemble,
                     LineReader& reader,
                     FileWriter& writer,
                     const TranslateLinesOptions& options,
                     const std::function<void(const std::string& text)>& warn) {
  const auto& config = ensemble.front().config;
  const auto& source = ensemble.front().vocabularies.source;
  const auto& target = ensemble.front().vocabularies.target;
  const auto models = models_of(ensemble);
  const auto device = device_of(config.device);
  const bool bfloat16 = config.computes_in_half();
  auto decode = options.decode;
  if (options.n_best) decode.n_best = decode.beam;
  const auto limit = static_cast<std::size_t>(options.max_length);
  std::vector<std::vector<int64_t>> waiting;
  std::size_t longest = 0;
  int64_t number = 0;
  const auto translate_waiting = [&] {
    for (auto& found : translate_n_best(models, waiting, device, bfloat16, decode)) {
      if (found.empty()) found.emplace_back();  // of a line without pieces
      for (const auto& translation : found) {
        const auto text = target.decode(translation.pieces);
        writer.write(options.n_best ? n_best_line(number, text, translation) : text + "\n");
      }
      ++number;
    }
    waiting.clear();
    longest = 0;
  };
  for (std::string line; reader.next(line);) {
    auto ids = source.encode(enough_of(line, options.max_length));
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
