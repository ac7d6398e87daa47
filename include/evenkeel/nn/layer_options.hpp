// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/arg.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/nn/shaped_block_options.hpp>
#include <evenkeel/residual/norm_type.hpp>

#include <c10/util/Exception.h>

#include <cstdint>
#include <optional>
#include <string>

namespace evenkeel::nn {

/// Options of layers, which the options of stacks and models share.
template <typename Derived>
class LayerOptions {
 public:
  /// Width of the residual stream. Default: 512
  EVENKEEL_ARG(int64_t, embed_dim) = 512;
  /// Attention heads. Default: 8
  EVENKEEL_ARG(int64_t, num_heads) = 8;
  /// Key and value heads, each shared by num_heads / num_kv_heads query heads. Default: 0, which
  /// means num_heads
  EVENKEEL_ARG(int64_t, num_kv_heads) = 0;
  /// Inner size of the feed-forward sub-layers. Default: 2048
  EVENKEEL_ARG(int64_t, dim_feedforward) = 2048;
  /// The feed-forward's activation. Default: ReLU
  EVENKEEL_ARG(Activation, activation) = Activation::kReLU;
  /// Slope of LeakyReLU below 0; other activations have none. Default: 0.01
  EVENKEEL_ARG(double, negative_slope) = 0.01;
  /// The name of the block that a layer is, one of `blocks()`, e.g. `sas-p`. With any but the
  /// default, norm(NormKind::kNone) leaves a LayerNorm before the first layer and one behind the
  /// last. Default: `default`
  EVENKEEL_ARG(std::string, block) = "default";  // NOLINT(performance-unnecessary-value-param)
  /// The matrices of a block with shaped attention. Default: std::nullopt, which means
  /// `ShapedBlockOptions()`
  EVENKEEL_ARG(std::optional<ShapedBlockOptions>, shaped);
  /// Whether projections and feed-forward have a bias. Default: true
  EVENKEEL_ARG(bool, bias) = true;
  /// The norm that is used wherever the scheme has one. Default: LayerNorm
  EVENKEEL_ARG(NormType, norm);  // NOLINT(performance-unnecessary-value-param)
  /// eps of the norms. Default: 0, which means the norm's default
  EVENKEEL_ARG(double, norm_eps) = 0.0;
  /// Dropout on the output of every branch; in a model, on embeddings too. Default: 0
  EVENKEEL_ARG(double, dropout) = 0.0;
  /// Dropout on the attention weights. Default: 0
  EVENKEEL_ARG(double, attention_dropout) = 0.0;
  /// Dropout after the feed-forward's activation. Default: 0
  EVENKEEL_ARG(double, activation_dropout) = 0.0;
  /// Whether a stack multiplies its input by a buffer `input_scale` (embed_dim), which is 1 until a
  /// folded model or a checkpoint sets it, see `fold`. Default: false
  EVENKEEL_ARG(bool, input_scale) = false;

 public:
  /// Throws unless all values are in range; the error names `module`. Attention, feed-forward and
  /// residuals check their own options.
  void check_layer(const char* module) const {
    TORCH_CHECK(embed_dim_ > 0, module, ": expected embed_dim > 0, but got ", embed_dim_);
  }

  /// Copies these options from those of another class.
  template <typename Other>
  Derived& layer_options(const LayerOptions<Other>& other) {
    embed_dim_ = other.embed_dim();
    num_heads_ = other.num_heads();
    num_kv_heads_ = other.num_kv_heads();
    dim_feedforward_ = other.dim_feedforward();
    activation_ = other.activation();
    negative_slope_ = other.negative_slope();
    block_ = other.block();
    shaped_ = other.shaped();
    bias_ = other.bias();
    norm_ = other.norm();
    norm_eps_ = other.norm_eps();
    dropout_ = other.dropout();
    attention_dropout_ = other.attention_dropout();
    activation_dropout_ = other.activation_dropout();
    input_scale_ = other.input_scale();
    return static_cast<Derived&>(*this);
  }
};

}  // namespace evenkeel::nn
