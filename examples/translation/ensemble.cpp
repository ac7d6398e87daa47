// SPDX-License-Identifier: MIT
#include "ensemble.hpp"

#include "common/vocabulary.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <utility>

namespace evenkeel::examples::translation {

Ensemble::Ensemble(const Models& models, const torch::Tensor& src, int64_t beam) {
  for (auto* model : models) {
    auto memory = model->encode(src);
    if (beam > 1) {
      memory = memory.select(torch::arange(src.size(0), src.options()).repeat_interleave(beam));
    }
    members_.push_back({model, std::move(memory), {}});
  }
}

torch::Tensor Ensemble::log_probabilities(const torch::Tensor& last) {
  std::vector<torch::Tensor> all;
  for (auto& [model, memory, cache] : members_) {
    const auto logits =
        model->project(model->decode(last, memory, &cache)).squeeze(1).to(torch::kFloat32);
    for (const auto piece : {kPad, kUnk, kBos}) {  // no part of a translation
      logits.select(1, piece).fill_(-std::numeric_limits<float>::infinity());
    }
    all.push_back(logits.log_softmax(1));
  }
  if (all.size() == 1) return all.front();
  return torch::stack(all).logsumexp(0) - std::log(static_cast<double>(all.size()));
}

void Ensemble::select(const torch::Tensor& rows, bool same_sentences) {
  for (auto& member : members_) {
    member.cache.select(rows, same_sentences);
    if (!same_sentences) member.memory = member.memory.select(rows);
  }
}

}  // namespace evenkeel::examples::translation
