// SPDX-License-Identifier: MIT
#include "ensemble.hpp"

#include "common/vocabulary.hpp"

#include <evenkeel/core/enums.hpp>
#include <evenkeel/residual/observer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace evenkeel::examples::translation {

namespace {

// Runs `decode` and returns the weights of the first head of the model's last cross-attention, in
// the last step: float32 (rows, S).
template <typename Decode>
torch::Tensor attention_of(nn::TransformerImpl& model, Decode&& decode) {
  const auto& sublayers = model.decoder->layers.back()->sublayers;
  const auto last =
      std::find_if(sublayers.rbegin(), sublayers.rend(), [](const nn::Sublayer& sublayer) {
        return sublayer.kind == SublayerKind::kCrossAttention;
      });
  torch::Tensor weights;
  const Observer watch(nullptr, [&](const AttentionEvent& event) {
    if (last == sublayers.rend() || &event.attention != last->branch.ptr().get()) return;
    weights = event.weights.select(1, 0).select(1, -1).to(torch::kFloat32);
  });
  decode();
  TORCH_CHECK(weights.defined(),
              "coverage penalty: expected a decoder whose last layer has cross-attention");
  return weights;
}

}  // namespace

Ensemble::Ensemble(const Models& models, const torch::Tensor& src, int64_t beam, bool covers)
    : covers_(covers) {
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
  std::vector<torch::Tensor> attention;
  for (auto& [model, memory, cache] : members_) {
    torch::Tensor hidden;
    const auto decode = [&, model = model, &memory = memory, &cache = cache] {
      hidden = model->decode(last, memory, &cache);
    };
    if (covers_) {
      attention.push_back(attention_of(*model, decode));
    } else {
      decode();
    }
    const auto logits = model->project(hidden).squeeze(1).to(torch::kFloat32);
    for (const auto piece : {kPad, kUnk, kBos}) {  // no part of a translation
      logits.select(1, piece).fill_(-std::numeric_limits<float>::infinity());
    }
    all.push_back(logits.log_softmax(1));
  }
  if (covers_) {
    const auto step = torch::stack(attention).mean(0);
    attention_ = attention_.defined() ? attention_ + step : step;
  }
  if (all.size() == 1) return all.front();
  return torch::stack(all).logsumexp(0) - std::log(static_cast<double>(all.size()));
}

torch::Tensor Ensemble::coverage() const {
  return attention_.clamp_max(1.0).log().masked_fill(attention_ == 0, 0.0).sum(1);
}

void Ensemble::select(const torch::Tensor& rows, bool same_sentences) {
  if (covers_) attention_ = attention_.index_select(0, rows);
  for (auto& member : members_) {
    member.cache.select(rows, same_sentences);
    if (!same_sentences) member.memory = member.memory.select(rows);
  }
}

}  // namespace evenkeel::examples::translation
