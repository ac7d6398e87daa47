// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/ctranslate2_file.hpp>
#include <evenkeel/fold/detail/fold_norm.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/nn/sublayer.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/norms.hpp>
#include <evenkeel/residual/rms_norm.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::detail {

/// Adds the layers of a folded model to a file, and refuses what CTranslate2 does not have.
/// Source of the names: ctranslate2 4.8.5, specs/transformer_spec.py and attention_spec.py.
class CTranslate2Layers {
 public:
  explicit CTranslate2Layers(CTranslate2File& file) : file_(file) {}

  /// Adds a stack, `encoder` or `decoder`. `end` is the norm behind its last layer.
  void add(const std::string& stack, const std::vector<nn::Layer>& layers, const AnyNorm& end) {
    const auto& first = layers.front()->sublayers.front();
    const bool pre_norm = first.residual->norms().input;
    const auto attention = exactly<nn::MultiHeadAttention>(first.branch.ptr());
    const auto num_heads = attention.is_empty() ? 0 : attention->options.num_heads();
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto& sublayers = layers[i]->sublayers;
      const auto name = stack + ".layer_" + std::to_string(i);
      const auto scope = stack + "/layer_" + std::to_string(i) + "/";
      check_kinds(sublayers, stack == "encoder" ? kEncoderLayer : kDecoderLayer, name);
      for (const auto& sublayer : sublayers) {
        add(scope, sublayer, pre_norm, num_heads, name + "." + sublayer.name);
      }
    }
    if (!end.is_empty()) add_norm(stack + "/layer_norm", end, stack + ".norm");
    file_.add_scalar(stack + "/num_heads", static_cast<int16_t>(num_heads));
    file_.add_scalar(stack + "/pre_norm", static_cast<int8_t>(pre_norm));
    file_.add_scalar(stack + "/activation", activation_);
  }

  /// Of all norms, which CTranslate2 has one value for.
  double eps() const { return eps_; }

 private:
  using Kinds = std::vector<SublayerKind>;
  static inline const Kinds kEncoderLayer{SublayerKind::kSelfAttention, SublayerKind::kFeedForward};
  static inline const Kinds kDecoderLayer{
      SublayerKind::kSelfAttention, SublayerKind::kCrossAttention, SublayerKind::kFeedForward};

  static void check_kinds(const std::vector<nn::Sublayer>& sublayers,
                          const Kinds& expected,
                          const std::string& name) {
    const auto text = [](const Kinds& kinds) {
      std::string list;
      for (const auto kind : kinds)
        list += (list.empty() ? "" : ", ") + std::string(to_string(kind));
      return list;
    };
    Kinds kinds;
    for (const auto& sublayer : sublayers) kinds.push_back(sublayer.kind);
    TORCH_CHECK(kinds == expected,
                "export_ctranslate2: expected ",
                name,
                " to consist of ",
                text(expected),
                ", as a layer of CTranslate2 does, but got ",
                text(kinds));
  }

  void add(const std::string& layer,
           const nn::Sublayer& sublayer,
           bool pre_norm,
           int64_t num_heads,
           const std::string& name) {
    const auto& residual = *sublayer.residual;
    TORCH_CHECK(
        residual.norms() == (pre_norm ? Norms::at_input() : Norms::at_sum()),
        "export_ctranslate2: expected a norm at the input of every sub-layer of a stack, or "
        "at every sum, as CTranslate2 has them, but got at ",
        name,
        ": ",
        to_string(residual.norms()));
    const auto& norm = pre_norm ? residual.input_norm : residual.sum_norm;
    const auto add_norm_of = [&](const std::string& scope) {
      add_norm(scope + "/layer_norm", norm, name + "_residual.norm");
    };
    const auto attention = exactly<nn::MultiHeadAttention>(sublayer.branch.ptr());
    const auto feed_forward = exactly<nn::FeedForward>(sublayer.branch.ptr());
    if (!attention.is_empty()) {
      const bool cross = sublayer.kind == SublayerKind::kCrossAttention;
      const auto scope = layer + (cross ? "attention" : "self_attention");
      TORCH_CHECK(attention->options.num_heads() == num_heads,
                  "export_ctranslate2: expected one number of heads in a stack, as CTranslate2 has "
                  "it, but got ",
                  num_heads,
                  ", and at ",
                  name,
                  " ",
                  attention->options.num_heads());
      add_attention(scope, attention, cross);
      add_norm_of(scope);
    } else if (!feed_forward.is_empty()) {
      add_feed_forward(layer + "ffn", feed_forward, name);
      add_norm_of(layer + "ffn");
    } else {
      TORCH_CHECK(false,
                  "export_ctranslate2: expected ",
                  name,
                  " to be nn::MultiHeadAttention or nn::FeedForward, but got ",
                  sublayer.branch.ptr()->name());
    }
  }

  void add_linear(const std::string& scope,
                  const torch::Tensor& weight,
                  const torch::Tensor& bias) {
    file_.add(scope + "/weight", weight);
    if (bias.defined()) file_.add(scope + "/bias", bias);
  }
  void add_linear(const std::string& scope, const torch::nn::Linear& linear) {
    add_linear(scope, linear->weight, linear->bias);
  }

  // Query, key and value, each either weight or bias; undefined biases if there are none. Key and
  // value heads that several query heads share are repeated.
  static std::vector<torch::Tensor> projections(const nn::MultiHeadAttention& attention,
                                                bool of_bias) {
    const auto& options = attention->options;
    if (of_bias && !options.bias()) return {};
    std::vector<torch::Tensor> parts;
    if (options.packed()) {
      const auto& packed = of_bias ? attention->in_proj_bias : attention->in_proj_weight;
      parts = packed.detach().split_with_sizes(
          {options.embed_dim(), options.kv_dim(), options.kv_dim()});
    } else {
      for (const auto& linear : {attention->q_proj, attention->k_proj, attention->v_proj}) {
        parts.push_back((of_bias ? linear->bias : linear->weight).detach());
      }
    }
    const auto shared_by = options.num_heads() / options.kv_heads();
    for (size_t i = 1; shared_by > 1 && i < parts.size(); ++i) {
      const auto heads = parts[i].unflatten(0, {options.kv_heads(), options.head_dim()});
      parts[i] = heads.repeat_interleave(shared_by, 0).flatten(0, 1);
    }
    return parts;
  }

  static torch::Tensor joined(const std::vector<torch::Tensor>& parts, size_t begin, size_t end) {
    if (parts.empty()) return {};
    return at::cat(std::vector<torch::Tensor>(parts.begin() + static_cast<std::ptrdiff_t>(begin),
                                              parts.begin() + static_cast<std::ptrdiff_t>(end)));
  }

  void add_attention(const std::string& scope,
                     const nn::MultiHeadAttention& attention,
                     bool cross) {
    const auto weights = projections(attention, /*of_bias=*/false);
    const auto biases = projections(attention, /*of_bias=*/true);
    if (cross) {
      add_linear(scope + "/linear_0", joined(weights, 0, 1), joined(biases, 0, 1));
      add_linear(scope + "/linear_1", joined(weights, 1, 3), joined(biases, 1, 3));
    } else {
      add_linear(scope + "/linear_0", joined(weights, 0, 3), joined(biases, 0, 3));
    }
    add_linear(scope + (cross ? "/linear_2" : "/linear_1"), attention->out_proj);
  }

  void add_feed_forward(const std::string& scope,
                        const nn::FeedForward& feed_forward,
                        const std::string& name) {
    const auto activation = feed_forward->options.activation();
    const int8_t id = activation == Activation::kReLU                                        ? 0
                      : activation == Activation::kSiLU || activation == Activation::kSwiGLU ? 2
                      : activation == Activation::kGELU                                      ? 3
                                                                                             : -1;
    TORCH_CHECK(id >= 0,
                "export_ctranslate2: expected ReLU, GELU, SiLU or SwiGLU at ",
                name,
                ", as CTranslate2 has them, but got ",
                to_string(activation));
    TORCH_CHECK(activation_ < 0 || activation_ == id,
                "export_ctranslate2: expected one activation, as CTranslate2 has it, but got "
                "another at ",
                name);
    activation_ = id;
    if (activation == Activation::kSwiGLU) {
      add_linear(scope + "/linear_0", feed_forward->gate);
      add_linear(scope + "/linear_0_noact", feed_forward->fc1);
    } else {
      add_linear(scope + "/linear_0", feed_forward->fc1);
    }
    add_linear(scope + "/linear_1", feed_forward->fc2);
  }

  void add_norm(const std::string& scope, const AnyNorm& norm, const std::string& name) {
    const auto layer_norm = exactly<torch::nn::LayerNorm>(norm.ptr());
    const auto rms_norm = exactly<RMSNorm>(norm.ptr());
    double eps = 0.0;
    if (!layer_norm.is_empty()) {
      const auto& weight = layer_norm->weight;
      const auto& sizes = layer_norm->options.normalized_shape();
      file_.add(scope + "/gamma", weight.defined() ? weight : at::ones(sizes));
      file_.add(scope + "/beta", layer_norm->bias.defined() ? layer_norm->bias : at::zeros(sizes));
      eps = layer_norm->options.eps();
    } else {
      TORCH_CHECK(!rms_norm.is_empty(),
                  "export_ctranslate2: expected ",
                  name,
                  " to be LayerNorm or RMSNorm, as CTranslate2 has them, but got ",
                  norm.ptr()->name());
      file_.add(scope + "/gamma", rms_norm->weight);
      eps = rms_norm->options.eps();
    }
    if (eps_ < 0.0) eps_ = eps;
    TORCH_CHECK(
        std::abs(eps - eps_) <= 1e-6 * eps_,
        "export_ctranslate2: expected one eps of all norms, as CTranslate2 has it, but got ",
        eps_,
        ", and at ",
        name,
        " ",
        eps);
  }

  CTranslate2File& file_;
  double eps_ = -1.0;       // not known yet
  int8_t activation_ = -1;  // not known yet
};

}  // namespace evenkeel::detail
