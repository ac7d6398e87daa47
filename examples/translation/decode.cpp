// SPDX-License-Identifier: MIT
#include "decode.hpp"

#include "batches.hpp"
#include "common/evaluation_mode.hpp"

#include <ATen/ATen.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <list>
#include <numeric>
#include <tuple>
#include <utility>

namespace evenkeel::examples::translation {

namespace {

// One sentence of a batch during translation. Its `beam` rows are adjacent.
struct Search {
  int64_t sentence;                         // index of its translation
  int64_t longest;                          // maximal number of pieces
  std::vector<std::vector<int64_t>> beams;  // pieces of each partial translation
  std::vector<double> scores;               // sum of log-probabilities of each
  std::vector<Translation> finished;

  // `length` is the number of log-probabilities in `score`: an eos is not in `pieces`.
  void finish(std::vector<int64_t> pieces,
              double score,
              size_t length,
              double length_penalty,
              double coverage) {
    finished.push_back(
        {std::move(pieces),
         score,
         normalized(score, static_cast<int64_t>(length), length_penalty) + coverage});
  }

  // The best of those that have finished; of equal ones, those that did first. Those of a model
  // that is not finite are none.
  std::vector<Translation> best(int64_t count) {
    const auto broken = [](const auto& each) { return !std::isfinite(each.score); };
    finished.erase(std::remove_if(finished.begin(), finished.end(), broken), finished.end());
    std::stable_sort(finished.begin(), finished.end(), [](const auto& a, const auto& b) {
      return a.score > b.score;
    });
    if (static_cast<int64_t>(finished.size()) > count) {
      finished.erase(finished.begin() + count, finished.end());
    }
    return std::move(finished);
  }
};

// Extends the beams of one sentence by its candidates, best first: `rows` and `pieces` of `count`
// continuations. `coverage` has the penalty of each beam, or is null. Returns whether the sentence
// is finished.
bool advance(Search& search,
             const float* scores,
             const int64_t* candidates,
             const float* coverage,
             int64_t count,
             int64_t vocab_size,
             const DecodeOptions& options,
             std::vector<std::pair<int64_t, int64_t>>& survivors) {
  const auto beam = static_cast<size_t>(options.beam);
  const auto length = search.beams.front().size() + 1;
  const bool last = static_cast<int64_t>(length) >= search.longest;
  std::vector<std::vector<int64_t>> beams;
  std::vector<double> kept_scores;
  for (int64_t i = 0; i < count && beams.size() < beam; ++i) {
    if (scores[i] == -std::numeric_limits<float>::infinity()) break;
    const auto from = candidates[i] / vocab_size;
    const auto piece = candidates[i] % vocab_size;
    auto pieces = search.beams[static_cast<size_t>(from)];
    if (piece != kEos) pieces.push_back(piece);
    if (piece == kEos || last) {
      // A finished candidate that ranks below the beam is not kept either.
      if (i < options.beam) {
        search.finish(std::move(pieces),
                      scores[i],
                      length,
                      options.length_penalty,
                      coverage == nullptr ? 0.0 : coverage[from]);
      }
      continue;
    }
    beams.push_back(std::move(pieces));
    kept_scores.push_back(scores[i]);
    survivors.emplace_back(from, piece);
  }
  search.beams = std::move(beams);
  search.scores = std::move(kept_scores);
  return static_cast<int64_t>(search.finished.size()) >= options.beam || search.beams.empty();
}

// What the search ranks continuations by: their log-probability, or, for draws, a random number
// whose greatest is that of a piece as often as its probability says (Gumbel's trick).
torch::Tensor ranks_of(const torch::Tensor& log_probabilities, const DecodeOptions& options) {
  if (!options.sampling) return log_probabilities;
  auto scaled = log_probabilities / options.temperature;
  if (options.top_k > 0 && options.top_k < scaled.size(1)) {
    const auto least = std::get<0>(scaled.topk(options.top_k, 1)).narrow(1, options.top_k - 1, 1);
    scaled = scaled.masked_fill(scaled < least, -std::numeric_limits<float>::infinity());
  }
  return scaled - torch::empty_like(scaled).exponential_().log();
}

void translate_batch(const Models& models,
                     const std::vector<std::vector<int64_t>>& sources,
                     const std::vector<int64_t>& sentences,
                     torch::Device device,
                     const DecodeOptions& options,
                     std::vector<std::vector<Translation>>& results) {
  const auto beam = options.beam;
  int64_t columns = 0;
  for (const auto i : sentences) {
    columns = std::max(columns, static_cast<int64_t>(sources[static_cast<size_t>(i)].size()) + 1);
  }
  std::vector<int64_t> ids;
  std::vector<Search> searches;
  for (const auto i : sentences) {
    const auto& source = sources[static_cast<size_t>(i)];
    ids.insert(ids.end(), source.begin(), source.end());
    ids.push_back(kEos);
    ids.resize(ids.size() + static_cast<size_t>(columns) - source.size() - 1, kPad);
    const auto length = static_cast<double>(source.size());
    Search search{};
    search.sentence = i;
    search.longest = static_cast<int64_t>(options.length_ratio * length) + options.length_extra;
    search.beams.assign(static_cast<size_t>(beam), {});
    // All beams are identical at first: only the first may be continued.
    search.scores.assign(static_cast<size_t>(beam), -std::numeric_limits<double>::infinity());
    search.scores[0] = 0.0;
    searches.push_back(std::move(search));
  }
  const auto src = to_tensor(ids, static_cast<int64_t>(sentences.size()), columns, device);
  const bool covers = options.coverage_penalty != 0.0;
  Ensemble ensemble(models, src, beam, covers);
  std::vector<int64_t> last(searches.size() * static_cast<size_t>(beam), kBos);

  while (!searches.empty()) {
    const auto count = static_cast<int64_t>(searches.size());
    const auto tgt = to_tensor(last, count * beam, 1, device);
    const auto log_probabilities = ensemble.log_probabilities(tgt);
    const auto vocab_size = log_probabilities.size(1);
    std::vector<float> sums;
    for (const auto& search : searches) {
      for (int64_t b = 0; b < beam; ++b) {
        const auto at = static_cast<size_t>(b);
        sums.push_back(at < search.scores.size() ? static_cast<float>(search.scores[at])
                                                 : -std::numeric_limits<float>::infinity());
      }
    }
    const auto before = torch::tensor(sums).to(device).view({-1, 1});
    const auto flat = [&](const torch::Tensor& rows) {
      return (rows + before).view({count, beam * vocab_size});
    };
    const auto top_ids = std::get<1>(flat(ranks_of(log_probabilities, options))
                                         .topk(std::min(2 * beam, beam * vocab_size),
                                               /*dim=*/1,
                                               /*largest=*/true,
                                               /*sorted=*/true));
    const auto scores = flat(log_probabilities).gather(1, top_ids).cpu().contiguous();
    const auto candidates = top_ids.cpu().contiguous();
    const auto coverage =
        covers ? (options.coverage_penalty * ensemble.coverage()).cpu() : torch::Tensor();

    std::vector<int64_t> rows;
    std::vector<Search> going_on;
    last.clear();
    for (int64_t i = 0; i < count; ++i) {
      auto& search = searches[static_cast<size_t>(i)];
      std::vector<std::pair<int64_t, int64_t>> survivors;
      const auto width = scores.size(1);
      const bool done = advance(search,
                                scores.const_data_ptr<float>() + i * width,
                                candidates.const_data_ptr<int64_t>() + i * width,
                                covers ? coverage.const_data_ptr<float>() + i * beam : nullptr,
                                width,
                                vocab_size,
                                options,
                                survivors);
      if (done) {
        results[static_cast<size_t>(search.sentence)] = search.best(options.n_best);
        continue;
      }
      // A search with fewer continuations than beams is padded with copies that score -infinity.
      while (static_cast<int64_t>(survivors.size()) < beam) {
        survivors.push_back(survivors.front());
        search.beams.push_back(search.beams.front());
        search.scores.push_back(-std::numeric_limits<double>::infinity());
      }
      for (const auto& [from, piece] : survivors) {
        rows.push_back(i * beam + from);
        last.push_back(piece);
      }
      going_on.push_back(std::move(search));
    }
    const bool left = going_on.size() < searches.size();
    searches = std::move(going_on);
    if (searches.empty()) break;
    if (beam == 1 && !left) continue;  // every row continues in place
    const auto index = torch::tensor(rows).to(device);
    ensemble.select(index, /*same_sentences=*/!left);
  }
}

}  // namespace

double normalized(double log_probability, int64_t length, double length_penalty) {
  return log_probability / std::pow(static_cast<double>(length), length_penalty);
}

std::vector<std::vector<Translation>> translate_n_best(
    const Models& models,
    const std::vector<std::vector<int64_t>>& sources,
    torch::Device device,
    bool bfloat16,
    const DecodeOptions& options) {
  const torch::NoGradGuard no_grad;
  const Autocast autocast(device, bfloat16);
  std::list<EvaluationMode> evaluation;
  for (auto* model : models) evaluation.emplace_back(*model);

  std::vector<int64_t> order;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].empty()) order.push_back(static_cast<int64_t>(i));
  }
  const auto length = [&](int64_t i) {
    return static_cast<int64_t>(sources[static_cast<size_t>(i)].size()) + 1;
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return length(a) > length(b);
  });

  std::vector<std::vector<Translation>> results(sources.size());
  for (size_t begin = 0; begin < order.size();) {
    const auto rows =
        std::max<int64_t>(1, options.batch_tokens / (length(order[begin]) * options.beam));
    const auto end = std::min(order.size(), begin + static_cast<size_t>(rows));
    const std::vector<int64_t> sentences(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                         order.begin() + static_cast<std::ptrdiff_t>(end));
    translate_batch(models, sources, sentences, device, options, results);
    begin = end;
  }
  return results;
}

std::vector<std::vector<int64_t>> translate(nn::TransformerImpl& model,
                                            const std::vector<std::vector<int64_t>>& sources,
                                            torch::Device device,
                                            bool bfloat16,
                                            const DecodeOptions& options) {
  std::vector<std::vector<int64_t>> best;
  for (auto& found : translate_n_best({&model}, sources, device, bfloat16, options)) {
    best.push_back(found.empty() ? std::vector<int64_t>() : std::move(found.front().pieces));
  }
  return best;
}

std::vector<std::string> translate(nn::TransformerImpl& model,
                                   const Vocabularies& vocabularies,
                                   const std::vector<std::string>& sources,
                                   torch::Device device,
                                   bool bfloat16,
                                   const DecodeOptions& options) {
  std::vector<std::vector<int64_t>> pieces;
  pieces.reserve(sources.size());
  for (const auto& source : sources) pieces.push_back(vocabularies.source.encode(source));
  std::vector<std::string> translations;
  for (const auto& translation : translate(model, pieces, device, bfloat16, options)) {
    translations.push_back(vocabularies.target.decode(translation));
  }
  return translations;
}

}  // namespace evenkeel::examples::translation
