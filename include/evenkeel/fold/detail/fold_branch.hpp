// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/fold/detail/fold_norm.hpp>
#include <evenkeel/nn/any_branch.hpp>
#include <evenkeel/nn/attention.hpp>
#include <evenkeel/nn/feed_forward.hpp>
#include <evenkeel/nn/parallel.hpp>
#include <evenkeel/nn/shaped_attention.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>

namespace evenkeel::detail {

/// Throws if a branch is of a simplified block or has norms of its own.
inline void check_plain_branch(const nn::AnyBranch& branch, const std::string& name) {
  const bool simplified = !exactly<nn::ShapedAttention>(branch.ptr()).is_empty() ||
                          !exactly<nn::Parallel>(branch.ptr()).is_empty();
  TORCH_CHECK(!simplified,
              "fold: expected ",
              name,
              " to be attention or a feed-forward, as a plain Transformer has them, but got ",
              branch.ptr()->name());
  bool has_norms = false;
  if (const auto attention = exactly<nn::MultiHeadAttention>(branch.ptr())) {
    for (const auto* norm :
         {&attention->q_norm, &attention->k_norm, &attention->v_norm, &attention->inside_norm}) {
      has_norms = has_norms || !norm->is_empty();
    }
  } else if (const auto feed_forward = exactly<nn::FeedForward>(branch.ptr())) {
    has_norms = !feed_forward->inside_norm.is_empty();
  }
  TORCH_CHECK(!has_norms,
              "fold: expected ",
              name,
              " without norms of its own, as the branch of a plain Transformer is, but it has some "
              "inside");
}

/// A copy of an attention that has no gains of the heads.
inline nn::MultiHeadAttention without_head_gain(const nn::MultiHeadAttention& from) {
  auto options = from->options;
  nn::MultiHeadAttention copy(options.head_gain(Gain::one()));
  const auto values = from->named_parameters();
  for (auto& parameter : copy->named_parameters()) {
    parameter.value().set_data(values[parameter.key()].detach().clone());
  }
  copy->train(from->is_training());
  return copy;
}

/// Changes a branch f(x) to rows * f(columns * x), and moves the heads' gains to its output
/// projection. `name` is its registered name. Returns the heads' gains, 1 if there are none.
inline ChannelScale fold_branch(nn::AnyBranch& branch,
                                SublayerKind kind,
                                const ChannelScale& rows,
                                const ChannelScale& columns,
                                const std::string& name) {
  ChannelScale heads;
  if (auto attention = exactly<nn::MultiHeadAttention>(branch.ptr())) {
    const bool cross = kind == SublayerKind::kCrossAttention;
    if (attention->head_gain.defined()) {
      const auto& gain = attention->head_gain;
      const auto per_head = gain.detach().expand({attention->options.num_heads()});
      heads = ChannelScale::of(gain);
      ChannelScale::of(per_head.repeat_interleave(attention->options.head_dim()))
          .scale_columns(attention->out_proj->weight);
      attention = without_head_gain(attention);
      branch = nn::AnyBranch(attention, kind);
    }
    if (attention->options.packed()) {
      const auto reads = cross ? attention->options.embed_dim() : attention->in_proj_weight.size(0);
      columns.scale_columns(attention->in_proj_weight.detach().narrow(0, 0, reads));
    } else {
      columns.scale_columns(attention->q_proj->weight);
      if (!cross) {
        columns.scale_columns(attention->k_proj->weight);
        columns.scale_columns(attention->v_proj->weight);
      }
    }
    rows.scale_rows(attention->out_proj->weight);
    rows.scale_rows(attention->out_proj->bias);
  } else if (const auto feed_forward = exactly<nn::FeedForward>(branch.ptr())) {
    columns.scale_columns(feed_forward->fc1->weight);
    if (!feed_forward->gate.is_empty()) columns.scale_columns(feed_forward->gate->weight);
    rows.scale_rows(feed_forward->fc2->weight);
    rows.scale_rows(feed_forward->fc2->bias);
  } else {
    TORCH_CHECK(rows.is_one() && columns.is_one(),
                "fold: expected ",
                name,
                " to be nn::MultiHeadAttention or nn::FeedForward, whose matrices are known, but "
                "got ",
                branch.ptr()->name(),
                "; a branch of another type can be kept only where there is nothing to fold");
  }
  return heads;
}

}  // namespace evenkeel::detail
