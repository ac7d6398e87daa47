// SPDX-License-Identifier: MIT
#include "score_pairs.hpp"

#include "common/device.hpp"
#include "common/evaluation_mode.hpp"
#include "common/vocabulary.hpp"

#include <ATen/ATen.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <list>
#include <numeric>

namespace evenkeel::examples::translation {

namespace {

// Of the rows of a batch, float64.
torch::Tensor log_probabilities(const Models& models, const Batch& batch, torch::Device device) {
  const auto rows = [&](const std::vector<int64_t>& ids, int64_t columns) {
    return to_tensor(ids, batch.sentences, columns, device);
  };
  const auto src = rows(batch.source, batch.source_length);
  const auto tgt = rows(batch.target_input, batch.target_length);
  const auto expected = rows(batch.target_output, batch.target_length);
  std::vector<torch::Tensor> all;
  for (auto* model : models) {
    const auto logits =
        model->project(model->decode(tgt, model->encode(src), nullptr)).to(torch::kFloat32);
    // As in beam search; but a given translation may have an unknown character.
    constexpr auto kNever = -std::numeric_limits<float>::infinity();
    logits.select(2, kPad).fill_(kNever);
    logits.select(2, kBos).fill_(kNever);
    logits.select(2, kUnk).masked_fill_(expected != kUnk, kNever);
    all.push_back(
        logits.log_softmax(2).gather(2, expected.unsqueeze(2)).squeeze(2).to(torch::kFloat64));
  }
  const auto each = torch::stack(all).logsumexp(0) - std::log(static_cast<double>(all.size()));
  return each.masked_fill(expected == kPad, 0.0).sum(1);
}

}  // namespace

std::vector<double> score_pairs(const Models& models,
                                const std::vector<Pair>& pairs,
                                torch::Device device,
                                bool bfloat16,
                                int64_t batch_tokens) {
  const torch::NoGradGuard no_grad;
  const Autocast autocast(device, bfloat16);
  std::list<EvaluationMode> evaluation;
  for (auto* model : models) evaluation.emplace_back(*model);
  const auto length = [&](int64_t i) {
    const auto& pair = pairs[static_cast<std::size_t>(i)];
    return static_cast<int64_t>(std::max(pair.source.size(), pair.target.size())) + 1;
  };
  std::vector<int64_t> order(pairs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return length(a) > length(b);
  });
  std::vector<double> scores(pairs.size());
  for (auto begin = order.begin(); begin != order.end();) {
    const auto rows = std::min<std::ptrdiff_t>(std::max<int64_t>(1, batch_tokens / length(*begin)),
                                               order.end() - begin);
    const std::vector<int64_t> indices(begin, begin + rows);
    const auto found = log_probabilities(models, make_batch(pairs, indices), device).cpu();
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      scores[static_cast<std::size_t>(begin[i])] = found[i].item<double>();
    }
    begin += rows;
  }
  return scores;
}

}  // namespace evenkeel::examples::translation
