// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/fold_norm.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/layer.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::detail {

/// What all layers of a folded stack have in common.
struct PlainStack {
  bool pre_norm = false;
  double eps = 0.0;
  Activation activation = Activation::kReLU;
  int64_t num_heads = 0;
  int64_t dim_feedforward = 0;
};

/// Reads a folded stack, for a program whose layers are attention and feed-forward with LayerNorm,
/// the same in all layers. Throws, naming the place, for any other; `caller` begins the errors.
class PlainStackReader {
 public:
  PlainStackReader(const char* caller, std::string prefix)
      : caller_(caller), prefix_(std::move(prefix)) {}

  PlainStack read(const std::vector<nn::Layer>& layers, const std::vector<SublayerKind>& kinds) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto name = prefix_ + "layer_" + std::to_string(i);
      const auto& sublayers = layers[i]->sublayers;
      const bool same = std::equal(
          sublayers.begin(),
          sublayers.end(),
          kinds.begin(),
          kinds.end(),
          [](const nn::Sublayer& sublayer, SublayerKind kind) { return sublayer.kind == kind; });
      expect(same,
             name,
             "self-attention, cross-attention in a decoder that has it, and "
             "feed-forward, in this order");
      for (const auto& sublayer : sublayers) read(sublayer, name + "." + sublayer.name);
    }
    return stack_;
  }

 private:
  void expect(bool holds, const std::string& name, const std::string& what) const {
    TORCH_CHECK(holds, caller_, ": expected ", name, " to have ", what);
  }

  // Takes the first value, and refuses another one.
  template <typename T>
  void agree(T& value, const T& here, const std::string& name, const char* what) {
    if (is_first_) value = here;
    TORCH_CHECK(value == here,
                caller_,
                ": expected the ",
                what,
                " of all layers to be the same, "
                "but that of ",
                name,
                " is another");
  }

  void read(const nn::Sublayer& sublayer, const std::string& name) {
    const auto& residual = *sublayer.residual;
    const auto& norms = residual.norms();
    expect(norms.sum || norms.input, name, "a norm at its input or its sum");
    is_first_ = is_first_sublayer_;
    agree(stack_.pre_norm, !norms.sum, name, "place of the norm");
    const auto& any_norm = norms.sum ? residual.sum_norm : residual.input_norm;
    const auto norm = exactly<torch::nn::LayerNorm>(any_norm.ptr());
    expect(!norm.is_empty() && norm->weight.defined() && norm->bias.defined(),
           name,
           "a LayerNorm with weight and bias");
    const auto eps = norm->options.eps();
    if (is_first_) stack_.eps = eps;
    TORCH_CHECK(std::abs(eps - stack_.eps) <= 1e-6 * stack_.eps,
                caller_,
                ": expected one eps for all norms, but that of ",
                name,
                " is ",
                eps,
                " and not ",
                stack_.eps);
    is_first_sublayer_ = false;
    if (sublayer.kind == SublayerKind::kFeedForward) {
      const auto branch = exactly<nn::FeedForward>(sublayer.branch.ptr());
      expect(!branch.is_empty() && branch->options.activation() != Activation::kSwiGLU &&
                 branch->options.activation() != Activation::kLeakyReLU,
             name,
             "a feed-forward of two matrices with ReLU, GELU or SiLU");
      is_first_ = !has_feed_forward_;
      has_feed_forward_ = true;
      agree(stack_.activation, branch->options.activation(), name, "activation");
      agree(stack_.dim_feedforward, branch->options.dim_feedforward(), name, "inner size");
    } else {
      const auto branch = exactly<nn::MultiHeadAttention>(sublayer.branch.ptr());
      expect(!branch.is_empty() && branch->options.kv_heads() == branch->options.num_heads(),
             name,
             "multi-head attention with as many heads of keys and values as of queries");
      is_first_ = !has_attention_;
      has_attention_ = true;
      agree(stack_.num_heads, branch->options.num_heads(), name, "number of heads");
    }
  }

  const char* caller_;
  std::string prefix_;
  PlainStack stack_;
  bool is_first_ = true;
  bool is_first_sublayer_ = true;
  bool has_attention_ = false;
  bool has_feed_forward_ = false;
};

}  // namespace evenkeel::detail
