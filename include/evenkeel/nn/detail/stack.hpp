// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/init/apply_init.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/stack_options.hpp>
#include <evenkeel/residual/residual.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>

namespace evenkeel::nn::detail {

inline void check_stack(const char* name, const StackOptions& options) {
  TORCH_CHECK(options.num_layers() > 0 && options.embed_dim() > 0 && options.dim_feedforward() > 0,
              name,
              ": expected num_layers, embed_dim and dim_feedforward > 0, but got ",
              options.num_layers(),
              ", ",
              options.embed_dim(),
              " and ",
              options.dim_feedforward());
}

/// Makes the parts of one layer from the options of its stack.
template <typename Scheme>
class LayerParts {
 public:
  LayerParts(const StackOptions& options, Stack stack, int64_t sublayers, int64_t layer)
      : options_(options), stack_(stack), sublayers_(sublayers), layer_(layer) {}

  MultiHeadAttention attention() const {
    return MultiHeadAttention(MultiHeadAttentionOptions(options_.embed_dim(), options_.num_heads())
                                  .dropout(options_.attention_dropout()));
  }

  FeedForward feed_forward() const {
    return FeedForward(FeedForwardOptions(options_.embed_dim(), options_.dim_feedforward())
                           .dropout(options_.activation_dropout()));
  }

  /// The residual of the layer's sub-layer `sublayer`, from 0.
  Residual<Scheme> residual(int64_t sublayer) const {
    const bool encoder = stack_ == Stack::kEncoder;
    Position position;
    position.stack = stack_;
    position.index = layer_ * sublayers_ + sublayer;
    position.num_res_layers = sublayers_ * options_.num_layers();
    position.encoder_layers = encoder ? options_.num_layers() : options_.other_layers();
    position.decoder_layers = encoder ? options_.other_layers() : options_.num_layers();
    return Residual<Scheme>(
        ResidualOptions(position, options_.embed_dim()).dropout(options_.dropout()));
  }

 private:
  const StackOptions& options_;
  Stack stack_;
  int64_t sublayers_;
  int64_t layer_;
};

/// The norm at the end of a stack whose sub-layers normalise before the branch; empty elsewhere.
template <typename Scheme>
torch::nn::LayerNorm register_final_norm(torch::nn::Module& stack, int64_t embed_dim) {
  if (scheme::norm_placement<Scheme>() != NormPlacement::kBeforeBranch) return nullptr;
  return stack.register_module("norm",
                               torch::nn::LayerNorm(torch::nn::LayerNormOptions({embed_dim})));
}

/// Draws and scales the weights of a stack as its scheme wants them.
template <typename Scheme, typename Layer>
InitReport init_stack(torch::nn::Module& stack, Stack kind, const StackOptions& options) {
  auto anatomy = anatomy_of<Layer>(stack, kind);
  (kind == Stack::kEncoder ? anatomy.decoder_layers : anatomy.encoder_layers) =
      options.other_layers();
  return apply_init(anatomy, InitBase::kXavier, [](Role role, const Position& position) {
    return scheme::init_factor<Scheme>(role, position);
  });
}

}  // namespace evenkeel::nn::detail
