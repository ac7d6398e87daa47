// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

namespace evenkeel::nn {

/// Defines which keys a query may attend to. Masks combine with `&`: a query attends to a key if
/// all of them allow it.
///
///     const auto mask = AttentionMask::causal() & AttentionMask::padding(tokens.eq(pad_id));
///
/// A mask is a description, from which a tensor is made for T queries and S keys if one is needed;
/// plain causal attention needs none. The queries are the last T of the S keys: query t is at the
/// position of key S - T + t, so that a cached prefix of any length is attended to. For a query
/// without any key to attend to, such as padding on the left, attention returns 0. A mask is
/// immutable, so threads may share one.
class AttentionMask {
 public:
  /// Every query attends to every key.
  AttentionMask() = default;

  /// A query attends to itself and to earlier positions: query t to keys 0 to S - T + t.
  static AttentionMask causal() {
    AttentionMask mask;
    mask.causal_ = true;
    return mask;
  }

  /// Causal, and a query attends only to the last `size` keys, including its own position.
  static AttentionMask window(int64_t size) {
    TORCH_CHECK(size > 0, "AttentionMask: expected a window of 1 or more keys, but got ", size);
    auto mask = causal();
    mask.window_ = size;
    return mask;
  }

  /// No query attends to a key whose entry in `key_padding_mask`, bool of shape (B, S), is true.
  /// Padding may be on either side; with a cache, S includes the cached keys.
  static AttentionMask padding(const torch::Tensor& key_padding_mask) {
    TORCH_CHECK(key_padding_mask.dim() == 2 && key_padding_mask.scalar_type() == torch::kBool,
                "AttentionMask: expected key_padding_mask to be bool of shape [batch, keys], but "
                "got ",
                key_padding_mask.scalar_type(),
                " of shape ",
                key_padding_mask.sizes());
    AttentionMask mask;
    mask.hidden_ = key_padding_mask.unsqueeze(1).unsqueeze(1);
    return mask;
  }

  /// `attn_mask` of shape (T, S), (B, 1, T, S) or (B, num_heads, T, S), where B may be 1. Bool:
  /// query t does not attend to key s where it is true. Floating point: it is added to QK^T /
  /// sqrt(head_dim), in the dtype of the query, and may be trained; -inf excludes a key.
  static AttentionMask from_tensor(const torch::Tensor& attn_mask) {
    const bool is_bool = attn_mask.scalar_type() == torch::kBool;
    TORCH_CHECK((attn_mask.dim() == 2 || attn_mask.dim() == 4) &&
                    (is_bool || attn_mask.is_floating_point()),
                "AttentionMask: expected attn_mask to be bool or floating point of shape [queries, "
                "keys] or [batch, heads or 1, queries, keys], but got ",
                attn_mask.scalar_type(),
                " of shape ",
                attn_mask.sizes());
    AttentionMask mask;
    (is_bool ? mask.hidden_ : mask.bias_) =
        attn_mask.dim() == 2 ? attn_mask.unsqueeze(0).unsqueeze(0) : attn_mask;
    return mask;
  }

  /// A query attends to a key if both masks allow it; additive masks are summed.
  friend AttentionMask operator&(const AttentionMask& a, const AttentionMask& b) {
    auto mask = a;
    mask.prepared_ = torch::Tensor();
    mask.causal_ = a.causal_ || b.causal_;
    mask.window_ = a.window_ == 0 || b.window_ == 0 ? std::max(a.window_, b.window_)
                                                    : std::min(a.window_, b.window_);
    if (b.hidden_.defined()) {
      if (a.hidden_.defined()) check_broadcast(a.hidden_, b.hidden_);
      mask.hidden_ = a.hidden_.defined() ? a.hidden_.logical_or(b.hidden_) : b.hidden_;
    }
    if (b.bias_.defined()) {
      if (a.bias_.defined()) check_broadcast(a.bias_, b.bias_);
      mask.bias_ = a.bias_.defined() ? a.bias_ + b.bias_ : b.bias_;
    }
    return mask;
  }

  /// Returns whether the mask has no effect: it excludes no key and adds nothing, for any lengths.
  bool empty() const { return !causal_ && !hidden_.defined() && !bias_.defined(); }

  /// Returns whether the mask is equivalent to scaled_dot_product_attention's `is_causal`, which
  /// needs no tensor: only causal, with as many queries as keys.
  bool is_square_causal(int64_t queries, int64_t keys) const {
    return causal_ && queries == keys && queries > 1 && !windowed(keys) && !hidden_.defined() &&
           !bias_.defined();
  }

  /// The mask of the batch rows `index`.
  AttentionMask select(const torch::Tensor& index) const {
    auto mask = *this;
    for (auto* tensor : {&mask.hidden_, &mask.bias_, &mask.prepared_}) {
      if (tensor->defined() && tensor->size(0) > 1) *tensor = tensor->index_select(0, index);
    }
    return mask;
  }

  /// The same mask with its tensor made for these lengths, once for all layers of a stack.
  /// `options` are dtype and device of the queries; layers convert a mask of another dtype.
  AttentionMask prepare(int64_t queries, int64_t keys, const torch::TensorOptions& options) const {
    if (is_square_causal(queries, keys)) return *this;
    auto mask = *this;
    mask.prepared_ = make(queries, keys, options);
    return mask.prepared_.defined() ? mask : AttentionMask();
  }

  /// The keys that queries see: all that are not `hidden`, bool (B or 1, heads or 1, 1, S) or
  /// undefined, and, if `causal`, none after the position of the query.
  struct SeenKeys {
    bool causal = false;
    torch::Tensor hidden;
  };

  /// The keys that T queries of S keys see, where they are of this form, and nothing is added to
  /// their scores. A mean over them needs no matrix (T, S).
  std::optional<SeenKeys> seen_keys(int64_t queries, int64_t keys) const {
    if (bias_.defined() || windowed(keys) || (hidden_.defined() && hidden_.size(2) != 1)) return {};
    return SeenKeys{causal_ && queries > 1, hidden_};
  }

  /// The tensor to add to scores of shape (B, num_heads, T, S): -inf for excluded keys, otherwise
  /// 0, plus the tensor of `from_tensor`. It has four dimensions, each of the size of the scores or
  /// 1, and is undefined if there is nothing to add. Throws if a tensor of the mask has other
  /// sizes.
  torch::Tensor additive(torch::IntArrayRef scores, const torch::TensorOptions& options) const {
    for (const auto* tensor : {&hidden_, &bias_, &prepared_}) {
      if (!tensor->defined()) continue;
      bool fits = tensor->size(3) == scores[3];
      for (int64_t i = 0; i < 3; ++i) {
        fits = fits && (tensor->size(i) == 1 || tensor->size(i) == scores[i]);
      }
      TORCH_CHECK(fits && tensor->device().type() == options.device().type() &&
                      (!options.device().has_index() || tensor->device() == options.device()),
                  "AttentionMask: expected a tensor for [batch, heads, queries, keys] = ",
                  scores,
                  " on ",
                  options.device(),
                  ", but got ",
                  tensor->sizes(),
                  " on ",
                  tensor->device());
    }
    return make(scores[2], scores[3], options);
  }

 private:
  static void check_broadcast(const torch::Tensor& a, const torch::Tensor& b) {
    for (int64_t i = 0; i < 4; ++i) {
      TORCH_CHECK(a.size(i) == b.size(i) || ((a.size(i) == 1 || b.size(i) == 1) && i < 3),
                  "AttentionMask: expected masks of the same lengths to combine, but got ",
                  a.sizes(),
                  " and ",
                  b.sizes());
    }
  }

  bool windowed(int64_t keys) const { return window_ > 0 && window_ < keys; }

  // -inf rather than bool: for a row that a bool mask excludes completely, the cuDNN kernels of
  // LibTorch 2.11 return values other than 0, and NaN gradients. Also, every layer would convert it
  // again.
  torch::Tensor make(int64_t queries, int64_t keys, const torch::TensorOptions& options) const {
    TORCH_CHECK(!causal_ || queries <= keys,
                "AttentionMask: expected at most as many queries as keys for a causal mask, but "
                "got ",
                queries,
                " and ",
                keys);
    if (prepared_.defined() && prepared_.size(3) == keys &&
        (prepared_.size(2) == 1 || prepared_.size(2) == queries)) {
      return prepared_.to(options.dtype());
    }
    auto hidden = hidden_;
    if (causal_ && (queries > 1 || windowed(keys))) {
      const auto indices = options.dtype(torch::kInt64).requires_grad(false);
      const auto key = at::arange(keys, indices);
      const auto query = at::arange(keys - queries, keys, indices).unsqueeze(1);
      auto out_of_sight = key > query;
      if (windowed(keys)) out_of_sight = out_of_sight.logical_or(key <= query - window_);
      hidden = hidden.defined() ? hidden.logical_or(out_of_sight)
                                : out_of_sight.unsqueeze(0).unsqueeze(0);
    }
    auto bias = bias_.defined() ? bias_.to(options.dtype()) : bias_;
    if (!hidden.defined()) return bias;
    int64_t sizes[4];
    for (int64_t i = 0; i < 4; ++i) {
      sizes[i] = bias.defined() ? std::max(hidden.size(i), bias.size(i)) : hidden.size(i);
    }
    // CUDA kernels need rows whose stride is a multiple of 8, and would copy any others.
    sizes[3] = (keys + 7) / 8 * 8;
    auto mask = at::zeros(sizes, options.requires_grad(false)).narrow(3, 0, keys);
    if (bias.defined()) mask = mask.add_(bias);
    return mask.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  }

  bool causal_ = false;
  int64_t window_ = 0;      // 0: none
  torch::Tensor hidden_;    // bool, true = excluded; (B or 1, H or 1, T or 1, S)
  torch::Tensor bias_;      // added to the scores; the same shape
  torch::Tensor prepared_;  // what make() returned for the lengths of prepare()
};

namespace detail {

/// softmax(scores), where `additive` is part of the scores; a row that it excludes wholly is 0.
inline torch::Tensor softmax_or_zero(const torch::Tensor& scores, const torch::Tensor& additive) {
  const auto blind =
      additive.eq(-std::numeric_limits<double>::infinity()).all(-1, /*keepdim=*/true);
  return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0);
}

}  // namespace detail

/// softmax(scores) over the keys that `mask` allows; a row without any is 0.
/// Shapes: scores and result are (B, num_heads, T, S).
inline torch::Tensor masked_softmax(const torch::Tensor& scores, const AttentionMask& mask) {
  const auto additive = mask.additive(scores.sizes(), scores.options());
  if (!additive.defined()) return scores.softmax(-1);
  return detail::softmax_or_zero(scores + additive, additive);
}

}  // namespace evenkeel::nn
