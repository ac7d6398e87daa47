// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <utility>

namespace evenkeel::nn {

/// Which keys a query may not see; made once and read by every layer of a stack.
class AttentionMask {
 public:
  /// Every query sees every key.
  AttentionMask() = default;

  /// Query t sees keys 0 to t.
  static AttentionMask causal() {
    AttentionMask mask;
    mask.is_causal_ = true;
    return mask;
  }

  /// No query sees a key whose entry in `key_padding_mask`, bool of shape (B, S), is true.
  static AttentionMask padding(const torch::Tensor& key_padding_mask) {
    TORCH_CHECK(key_padding_mask.dim() == 2 && key_padding_mask.scalar_type() == torch::kBool,
                "AttentionMask: expected key_padding_mask to be bool of shape [batch, keys], but "
                "got ",
                key_padding_mask.scalar_type(),
                " of shape ",
                key_padding_mask.sizes());
    AttentionMask mask;
    mask.visible_ = key_padding_mask.logical_not().unsqueeze(1).unsqueeze(1);
    return mask;
  }

  /// Query t does not see key s where `attn_mask`, bool of shape (T, S) or (B, 1, T, S), is true.
  static AttentionMask explicitly(const torch::Tensor& attn_mask) {
    TORCH_CHECK(
        (attn_mask.dim() == 2 || attn_mask.dim() == 4) && attn_mask.scalar_type() == torch::kBool,
        "AttentionMask: expected attn_mask to be bool of shape [queries, keys] or "
        "[batch, 1, queries, keys], but got ",
        attn_mask.scalar_type(),
        " of shape ",
        attn_mask.sizes());
    AttentionMask mask;
    mask.visible_ = attn_mask.logical_not();
    return mask;
  }

  /// What scaled_dot_product_attention takes: true where a key is seen; undefined for all.
  const torch::Tensor& visible() const { return visible_; }
  bool is_causal() const { return is_causal_; }

  /// The mask of the batch rows `index`.
  AttentionMask select(const torch::Tensor& index) const {
    auto mask = *this;
    if (visible_.defined() && visible_.dim() == 4 && visible_.size(0) > 1) {
      mask.visible_ = visible_.index_select(0, index);
    }
    return mask;
  }

 private:
  torch::Tensor visible_;
  bool is_causal_ = false;
};

}  // namespace evenkeel::nn
