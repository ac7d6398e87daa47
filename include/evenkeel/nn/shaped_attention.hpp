// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/detail/shaped_terms.hpp>
#include <evenkeel/nn/projection.hpp>
#include <evenkeel/nn/reparam_linear.hpp>
#include <evenkeel/nn/shaped_attention_options.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/observer.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <ostream>

namespace evenkeel::nn {

/// Shaped attention: for every head, attention weights that begin as the identity,
///
///     A = alpha * I + beta * softmax(Q K^T / sqrt(head_dim)) - gamma * C
///
/// where C is attention whose scores are all 0: uniform over the keys that a query may attend to.
/// The query matrix begins at 0 and all gains at 1, so that A = I at first. By default values and
/// outputs have no matrix either, and the whole begins as y = x. No matrix (T, S) is made for I,
/// and none for C unless the mask has one: the output is alpha * v + beta * attention - gamma *
/// mean(v), the mean a cumulative one if causal. A query that sees no key has alpha * v.
///
///     ShapedAttention attention(ShapedAttentionOptions(512, 8));
///     y = attention(x, AttentionMask::causal());
///
/// Without C, `ShapedAttentionOptions(512, 8).centred(false)`, it is value-SkipInit. In
/// cross-attention there is no I: pass `identity(false)`; with the other defaults, the output is
/// then 0 at first, as beta = gamma. Dropout is that of the softmax alone.
///
/// Registered names: `alpha`, `beta` and `gamma`, each of shape (num_heads) or (1) unless it is
/// `Gain::one()`; `q_proj`, `k_proj`; `v_proj` and `out_proj`, each unless it is the identity.
/// Inputs are batch first; shapes are those of `MultiHeadAttention`.
/// Papers: He and Hofmann 2023, https://arxiv.org/abs/2311.01906; Noci et al. 2023,
/// https://arxiv.org/abs/2306.17759. Code: bobby-he/simplified_transformers, which drops weights of
/// all three terms, and has I only together with C.
class ShapedAttentionImpl : public AttentionImplBase<ShapedAttentionImpl> {
 public:
  explicit ShapedAttentionImpl(const ShapedAttentionOptions& options_)
      : AttentionImplBase(MultiHeadAttentionOptions(options_.attention()).packed(false)),
        shape(options_) {
    detail::check(shape);
    reset();
  }

  void reset() override {
    const auto d = options.embed_dim();
    const auto linear = [&](const char* name, int64_t rows) {
      return register_module(
          name,
          torch::nn::Linear(torch::nn::LinearOptions(d, rows).bias(options.bias())));
    };
    const auto linear_if = [&](const char* name, const Projection& how, int64_t rows) {
      torch::nn::Linear made(nullptr);
      if (how.kind == Projection::Kind::kLinear) made = linear(name, rows);
      return made;
    };
    const auto reparam_if = [&](const char* name, const Projection& how, int64_t rows) {
      ReparamLinear made(nullptr);
      if (how.kind == Projection::Kind::kReparam) {
        made = register_module(
            name,
            ReparamLinear(
                ReparamLinearOptions(d, rows).init(how.init).skip(how.skip).resid(how.resid).bias(
                    options.bias())));
      }
      return made;
    };
    const auto register_gain = [&](const char* name, const Gain& gain) {
      return evenkeel::detail::register_gain(*this, name, gain, options.num_heads());
    };
    q_proj = linear("q_proj", d);
    k_proj = linear("k_proj", options.kv_dim());
    v_proj = linear_if("v_proj", shape.value(), options.kv_dim());
    v_reparam = reparam_if("v_proj", shape.value(), options.kv_dim());
    register_norms();
    if (shape.identity()) alpha = register_gain("alpha", shape.alpha());
    beta = register_gain("beta", shape.beta());
    if (shape.centred()) gamma = register_gain("gamma", shape.gamma());
    out_proj = linear_if("out_proj", shape.output(), d);
    out_reparam = reparam_if("out_proj", shape.output(), d);
    reset_parameters();
  }

  /// As every attention; W_Q is 0 if the options say so.
  void reset_parameters() override {
    AttentionImplBase::reset_parameters();
    const torch::NoGradGuard no_grad;
    if (shape.zero_query()) q_proj->weight.zero_();
    for (auto* reparam : {&v_reparam, &out_reparam}) {
      if (!reparam->is_empty()) (*reparam)->reset_parameters();
    }
    evenkeel::detail::reset_gain(alpha, shape.alpha());
    evenkeel::detail::reset_gain(beta, shape.beta());
    evenkeel::detail::reset_gain(gamma, shape.gamma());
  }

  /// Throws unless the options say `identity(false)`.
  torch::Tensor cross_attention(const torch::Tensor& x,
                                const torch::Tensor& memory,
                                const AttentionMask& mask = {},
                                KeyValueCache* cache = nullptr) override {
    TORCH_CHECK(!shape.identity(),
                "ShapedAttention: expected options with identity(false) for cross-attention, where "
                "a query has no key of its own, but got identity(true)");
    return AttentionImplBase::cross_attention(x, memory, mask, cache);
  }

  QueryKeyValue project(const torch::Tensor& x, const torch::Tensor& memory) override {
    const auto q = split_heads(q_proj(x));
    if (!memory.defined()) return {q, {}, {}};
    return {q,
            split_heads(k_proj(memory)),
            split_heads(project_by(shape.value(), v_proj, v_reparam, memory))};
  }

  /// (alpha * I + beta * softmax - gamma * C) v, (B, num_heads, T, head_dim).
  torch::Tensor attend(const torch::Tensor& q,
                       const torch::Tensor& k,
                       const torch::Tensor& v,
                       const AttentionMask& mask) override {
    const auto of = terms();
    if (Observer::any_attention()) {
      Observer::notify_attention(*this, detail::shaped_matrix(of, q, k, mask));
    }
    return detail::shaped_attention(of, q, k, v, mask, is_training() ? options.dropout() : 0.0);
  }

  torch::Tensor output(const torch::Tensor& y) override {
    const auto joined = y.transpose(1, 2).reshape({y.size(0), y.size(2), options.embed_dim()});
    return project_by(shape.output(),
                      out_proj,
                      out_reparam,
                      options.inside_norm().apply(inside_norm, joined));
  }

  /// Pretty prints the module, e.g. `evenkeel::nn::ShapedAttention(embed_dim=512, ...)`.
  void pretty_print(std::ostream& stream) const override {
    stream << "evenkeel::nn::ShapedAttention(embed_dim=" << options.embed_dim()
           << ", num_heads=" << options.num_heads();
    if (options.kv_heads() != options.num_heads())
      stream << ", num_kv_heads=" << options.kv_heads();
    stream << ", value=" << to_string(shape.value().kind)
           << ", output=" << to_string(shape.output().kind);
    if (!shape.identity()) stream << ", identity=false";
    if (!shape.centred()) stream << ", centred=false";
    if (!shape.zero_query()) stream << ", zero_query=false";
    if (shape.soft_cap() > 0.0) stream << ", soft_cap=" << shape.soft_cap();
    if (!options.bias()) stream << ", bias=false";
    stream << ", dropout=" << options.dropout() << ")";
  }

  ShapedAttentionOptions shape;        ///< The options with which this module was constructed.
  torch::Tensor alpha;                 ///< Gain of I, (num_heads) or (1); undefined if it is 1.
  torch::Tensor beta;                  ///< Gain of the softmax.
  torch::Tensor gamma;                 ///< Gain of C.
  ReparamLinear v_reparam{nullptr};    ///< Registered as `v_proj`, in its place.
  ReparamLinear out_reparam{nullptr};  ///< Registered as `out_proj`, in its place.

 private:
  static torch::Tensor project_by(const Projection& how,
                                  torch::nn::Linear& linear,
                                  ReparamLinear& reparam,
                                  const torch::Tensor& x) {
    switch (how.kind) {
      case Projection::Kind::kLinear:
        return linear(x);
      case Projection::Kind::kReparam:
        return reparam(x);
      case Projection::Kind::kIdentity:
        break;
    }
    return x;
  }

  detail::ShapedTerms terms() const {
    return {shape.identity(), shape.centred(), alpha, beta, gamma, shape.soft_cap()};
  }
};

/// A `ModuleHolder` for `ShapedAttentionImpl`: copies of it share one module.
TORCH_MODULE(ShapedAttention);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::ShapedAttention> {
  static void describe(nn::ShapedAttentionImpl& attention, AnatomyBuilder& anatomy) {
    auto sublayer = anatomy.sublayer("attention");
    describe(attention, sublayer);
  }
  static void describe(nn::ShapedAttentionImpl& attention, SublayerBuilder& sublayer) {
    sublayer.query(attention.q_proj);
    if (attention.shape.zero_query()) sublayer.kept();
    sublayer.key(attention.k_proj);
    if (!attention.v_proj.is_empty()) sublayer.value(attention.v_proj);
    if (!attention.v_reparam.is_empty()) {
      sublayer.value(attention.v_reparam).kept();
      describe_gains(*attention.v_reparam, sublayer);
    }
    if (!attention.out_proj.is_empty()) sublayer.output(attention.out_proj);
    if (!attention.out_reparam.is_empty()) {
      sublayer.output(attention.out_reparam).kept();
      describe_gains(*attention.out_reparam, sublayer);
    }
    for (const auto* gain :
         {&attention.alpha, &attention.beta, &attention.gamma, &attention.head_gain}) {
      sublayer.gain(*gain, GainSlot::kHeads);
    }
    nn::detail::describe_head_norms(attention, sublayer);
  }

 private:
  static void describe_gains(const nn::ReparamLinearImpl& linear, SublayerBuilder& sublayer) {
    sublayer.gain(linear.skip_gain, GainSlot::kMatrix).gain(linear.resid_gain, GainSlot::kMatrix);
  }
};
