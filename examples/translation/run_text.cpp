// SPDX-License-Identifier: MIT
#include "run_text.hpp"

#include "model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <vector>

namespace evenkeel::examples::translation {

namespace {

// From a file, or trained where none is named.
template <typename... Sides>
Vocabulary make_vocabulary(const Config& config,
                           const std::string& file,
                           const char* what,
                           Progress& progress,
                           const std::vector<std::string>& side,
                           const Sides&... other_side) {
  if (!file.empty()) return Vocabulary::load_file(file);
  progress.line(fmt::format("training a vocabulary of {} pieces on {} {}",
                            config.vocab_size,
                            side.size(),
                            what));
  auto trained =
      Vocabulary::train(side, other_side..., config.vocab_size, vocabulary_options(config));
  if (trained.size() < config.vocab_size) {
    progress.line(fmt::format("the text has pieces for a vocabulary of {}, not of {}",
                              trained.size(),
                              config.vocab_size));
  }
  return trained;
}

Vocabularies make_vocabularies(const Config& config, const ParallelText& text, Progress& progress) {
  const auto& [source, target] = text;
  if (config.separate_vocabularies == 0) {
    return Vocabularies(
        make_vocabulary(config, config.vocabulary, "pairs", progress, source, target));
  }
  auto of_source = make_vocabulary(config,
                                   config.source_vocabulary,
                                   "sentences of the source",
                                   progress,
                                   source);
  auto of_target = make_vocabulary(config,
                                   config.target_vocabulary,
                                   "sentences of the target",
                                   progress,
                                   target);
  return {std::move(of_source), std::move(of_target)};
}

// Validation takes the pairs that fit, for loss and BLEU alike.
void fit_validation(const Config& config, Corpus& valid, Progress& progress) {
  if (config.valid_source.empty()) return;
  const auto pairs = valid.pairs.size();
  const auto dropped = valid.drop_longer_than(config.max_length);
  if (valid.pairs.empty()) {
    throw ConfigError(fmt::format(
        "--valid-source: expected pairs of at most --max-length {} pieces, but of {} in {} none is",
        config.max_length,
        pairs,
        names(config.valid_source, config.valid_target)));
  }
  if (dropped > 0) {
    progress.line(fmt::format("{} of {} validation pairs, longer than {} pieces, are left out",
                              dropped,
                              pairs,
                              config.max_length));
  }
}

}  // namespace

std::string names(const std::vector<std::string>& source, const std::vector<std::string>& target) {
  const auto listed = fmt::format("{}", fmt::join(source, ", "));
  return target.empty() ? listed : fmt::format("{} and {}", listed, fmt::join(target, ", "));
}

RunText read_text(const Config& config, std::optional<Vocabularies> stored, Progress& progress) {
  Corpus train(config.source, config.target);
  Corpus valid(config.valid_source, config.valid_target);
  auto vocabularies = stored ? std::move(*stored) : make_vocabularies(config, train.text, progress);
  check_memory(config, vocabularies.sizes(), 4);
  Texts texts{{"source", fingerprint(train.text.source)},
              {"target", fingerprint(train.text.target)},
              {"valid-source", fingerprint(valid.text.source)},
              {"valid-target", fingerprint(valid.text.target)}};
  train.encode(vocabularies, config.max_length);
  valid.encode(vocabularies, config.max_length);
  fit_validation(config, valid, progress);
  return {std::move(train), std::move(valid), std::move(vocabularies), std::move(texts)};
}

BatchSchedule schedule_of(const Config& config, const std::vector<Pair>& pairs) {
  BatchOptions options;
  options.batch_tokens = config.batch_tokens;
  options.max_length = config.max_length;
  options.seed = static_cast<uint64_t>(config.seed);
  options.shapes = *config.batch_shapes;
  try {
    return {pairs, options};
  } catch (const std::invalid_argument&) {
    throw ConfigError(
        fmt::format("--source: expected pairs of at most --max-length {} pieces, but none is in {}",
                    config.max_length,
                    names(config.source, config.target)));
  }
}

}  // namespace evenkeel::examples::translation
