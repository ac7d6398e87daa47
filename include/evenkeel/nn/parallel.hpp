// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy_builder.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/kernels/fused_residual.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/residual/detail/gains.hpp>
#include <evenkeel/residual/gain.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ostream>
#include <utility>

namespace evenkeel::nn {

/// Options for `Parallel`: the gains of its two branches.
struct ParallelOptions {
  /// The gain of the attention. Default: 1, without a tensor
  TORCH_ARG(Gain, attention) = Gain::one();
  /// The gain of the feed-forward. Default: 1, without a tensor
  TORCH_ARG(Gain, feed_forward) = Gain::one();
};

/// Self-attention and feed-forward of one input, the branch of a layer that has a single residual:
///
///     f(h) = attention_gain * attention(h) + feed_forward_gain * feed_forward(h)
///
/// Shapes: h and f(h) are (B, T, embed_dim). Registered names: `attention`, `feed_forward`; the
/// gains `attention_gain` and `feed_forward_gain`, of shape (1), each unless it is `Gain::one()`.
/// Source: GPT-J, https://github.com/kingoflolz/mesh-transformer-jax.
class ParallelImpl : public torch::nn::Cloneable<ParallelImpl>, public Attention {
 public:
  /// Each branch is any that a `Sublayer` takes; the caller's handles go on pointing to the same
  /// modules.
  template <typename AttentionHolder, typename FeedForwardHolder>
  ParallelImpl(const AttentionHolder& attention_,
               const FeedForwardHolder& feed_forward_,
               const ParallelOptions& options_ = {})
      : ParallelImpl(AnyBranch(attention_, SublayerKind::kSelfAttention),
                     AnyBranch(feed_forward_, SublayerKind::kFeedForward),
                     options_) {}
  ParallelImpl(AnyBranch attention_, AnyBranch feed_forward_, const ParallelOptions& options_ = {})
      : options(options_),
        attention(std::move(attention_)),
        feed_forward(std::move(feed_forward_)) {
    for (const auto& gain : {options.attention(), options.feed_forward()}) {
      evenkeel::detail::check_scalar_gain("Parallel", gain);
    }
    register_all();
  }

  /// Called by clone() on a member-wise copy, which still shares its children with the original.
  void reset() override {
    attention = attention.clone();
    feed_forward = feed_forward.clone();
    register_all();
  }

  /// Re-initialises both branches and the gains.
  void reset_parameters() {
    attention.reset_parameters();
    feed_forward.reset_parameters();
    evenkeel::detail::reset_gain(attention_gain, options.attention());
    evenkeel::detail::reset_gain(feed_forward_gain, options.feed_forward());
  }

  torch::Tensor forward(const torch::Tensor& h,
                        const AttentionMask& mask = {},
                        KeyValueCache* cache = nullptr) override {
    const auto of_feed_forward = feed_forward.forward(h, {});
    const auto of_attention = attention.forward(h, {mask, {}, {}}, cache);
    return fused_residual({of_attention, of_feed_forward, attention_gain, feed_forward_gain});
  }

  /// Throws: there is no memory.
  torch::Tensor cross_attention(const torch::Tensor& /*x*/,
                                const torch::Tensor& /*memory*/,
                                const AttentionMask& /*mask*/,
                                KeyValueCache* /*cache*/) override {
    TORCH_CHECK(false, "Parallel: expected to be self-attention, but got a memory");
    return {};
  }

  /// Pretty prints the module: `evenkeel::nn::Parallel`.
  void pretty_print(std::ostream& stream) const override { stream << "evenkeel::nn::Parallel"; }

  ParallelOptions options;          ///< The options with which this module was constructed.
  AnyBranch attention;              ///< Self-attention.
  AnyBranch feed_forward;           ///< Feed-forward.
  torch::Tensor attention_gain;     ///< Undefined if it is `Gain::one()`.
  torch::Tensor feed_forward_gain;  ///< Undefined if it is `Gain::one()`.

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(static_cast<KeyValueCache*>(nullptr))})

 private:
  void register_all() {
    register_module("attention", attention.ptr());
    register_module("feed_forward", feed_forward.ptr());
    attention_gain =
        evenkeel::detail::register_gain(*this, "attention_gain", options.attention(), 0);
    feed_forward_gain =
        evenkeel::detail::register_gain(*this, "feed_forward_gain", options.feed_forward(), 0);
  }
};

/// A `ModuleHolder` for `ParallelImpl`: copies of it share one module.
TORCH_MODULE(Parallel);

}  // namespace evenkeel::nn

template <>
struct evenkeel::AnatomyOf<evenkeel::nn::Parallel> {
  static void describe(nn::ParallelImpl& parallel, AnatomyBuilder& anatomy) {
    auto sublayer = anatomy.sublayer("parallel");
    describe(parallel, sublayer);
  }
  static void describe(nn::ParallelImpl& parallel, SublayerBuilder& sublayer) {
    parallel.attention.describe(sublayer);
    parallel.feed_forward.describe(sublayer);
    sublayer.gain(parallel.attention_gain, GainSlot::kBranch)
        .gain(parallel.feed_forward_gain, GainSlot::kBranch);
  }
};
