// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/decoder.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/embedding.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>

namespace evenkeel::nn::detail {

/// Token ids, as models read them.
struct Tokens {
  torch::Tensor ids;      ///< int64 (B, T)
  torch::Tensor padding;  ///< Whether cached and new tokens are padding; undefined if none is.
  int64_t first = 0;      ///< Number of cached tokens.

  /// The mask that excludes padding; empty if there is none.
  AttentionMask mask() const {
    return padding.defined() ? AttentionMask::padding(padding) : AttentionMask();
  }
};

/// Checks ids (B, T) and finds the padding that a mask has to exclude. A causal stack needs no mask
/// for padding on the right, because tokens never attend to it. On a GPU, the ids are not
/// inspected, which would synchronise with the device: padding is assumed to exist, on the side
/// given by the options. With `starts_with_pad`, the first token of a row may be the padding token.
inline Tokens tokens_of(const char* model,
                        const torch::Tensor& ids,
                        int64_t pad_id,
                        PaddingSide side,
                        bool causal,
                        const DecoderCache* cache = nullptr,
                        bool starts_with_pad = false) {
  TORCH_CHECK(ids.dim() == 2 && ids.scalar_type() == torch::kInt64,
              model,
              ": expected token ids as int64 of shape [batch, length], but got ",
              ids.scalar_type(),
              " of shape ",
              ids.sizes());
  Tokens tokens{ids, {}, cache == nullptr ? 0 : cache->length};
  const bool either = side == PaddingSide::kEither;
  const bool hides_itself = causal && !either;
  if (pad_id < 0 || (hides_itself && !ids.is_cpu())) return tokens;
  auto padding = ids.eq(pad_id);
  const bool cached = cache != nullptr && cache->padding.defined();
  if (ids.is_cpu() && !cached && !padding.any().item<bool>()) return tokens;
  if (ids.is_cpu() && !either && ids.size(1) > 1) {
    const int64_t first = starts_with_pad ? 1 : 0;
    const auto behind =
        padding.slice(1, first, -1).logical_and(padding.slice(1, first + 1).logical_not());
    TORCH_CHECK(!behind.any().item<bool>(),
                model,
                ": expected padding on the right, but a row has a token after padding; set "
                "padding(PaddingSide::kEither) for padding on either side");
  }
  if (hides_itself) return tokens;
  if (cache != nullptr && cache->length > 0) {
    const auto before =
        cached ? cache->padding : at::zeros({ids.size(0), cache->length}, padding.options());
    padding = at::cat({before, padding}, 1);
  }
  tokens.padding = padding;
  return tokens;
}

/// embedding * sqrt(embed_dim) + positions, (B, T, embed_dim); `positions(first, end, options)` are
/// those of tokens `first` to `end` - 1. With `PaddingSide::kEither`, a
/// token's position is the number of tokens before it that are not padding. `word_dropout` is the
/// probability with which the embedding of a token is 0.
template <typename Positions>
torch::Tensor embed(const Tokens& tokens,
                    torch::nn::Embedding& embedding,
                    Positions&& positions,
                    PaddingSide side,
                    double word_dropout = 0.0) {
  const auto& weight = embedding->weight;
  const auto length = tokens.ids.size(1);
  const auto end = tokens.first + length;
  auto x = embedding(tokens.ids) * std::sqrt(static_cast<double>(weight.size(1)));
  if (word_dropout > 0.0) {
    const auto words = at::ones({x.size(0), length, 1}, x.options());
    x = x * at::dropout(words, word_dropout, /*train=*/true);
  }
  if (side == PaddingSide::kRight || !tokens.padding.defined()) {
    return x + positions(tokens.first, end, weight.options());
  }
  const auto count = tokens.padding.logical_not().cumsum(1).sub_(1).clamp_min_(0);
  const auto table = positions(0, end, weight.options());
  return x + at::embedding(table, count.narrow(1, tokens.first, length));
}

}  // namespace evenkeel::nn::detail
