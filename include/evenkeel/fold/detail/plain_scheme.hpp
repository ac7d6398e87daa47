// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/nn/layer.hpp>
#include <evenkeel/residual/norms.hpp>
#include <evenkeel/residual/post_norm.hpp>
#include <evenkeel/residual/pre_norm.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace evenkeel::detail {

/// The norms of the sub-layers of a stack, in forward order.
inline std::vector<Norms> norms_of(const std::vector<nn::Layer>& layers) {
  std::vector<Norms> norms;
  for (const auto& layer : layers) {
    for (const auto& sublayer : layer->sublayers) norms.push_back(sublayer.residual->norms());
  }
  return norms;
}

/// The scheme without gains whose sub-layers all have these norms: at the sum, the input, or none.
inline Scheme plain_scheme(const Norms& norms) {
  if (norms.sum) return scheme_of<PostNorm>();
  if (norms.input) return scheme_of<PreNorm>();
  Scheme scheme;
  scheme.name = "no-norm";
  scheme.title = "no norm";
  scheme.summary = "y = x + f(x)";
  return scheme;
}

/// The scheme without gains of a model whose stacks have these norms; empty where there is no such
/// stack.
inline Scheme plain_scheme(const std::vector<Norms>& encoder, const std::vector<Norms>& decoder) {
  const auto& first = (encoder.empty() ? decoder : encoder).front();
  const auto is_first = [&](const Norms& norms) { return norms == first; };
  if (std::all_of(encoder.begin(), encoder.end(), is_first) &&
      std::all_of(decoder.begin(), decoder.end(), is_first)) {
    return plain_scheme(first);
  }
  Scheme scheme;
  scheme.name = "mixed-norms";
  scheme.title = "Post-LN and Pre-LN";
  scheme.summary = "y = x + f(x), with a norm of the sum or of the input by sub-layer";
  scheme.norms = [encoder, decoder](const Position& position) {
    const auto& stack = position.stack == Stack::kEncoder ? encoder : decoder;
    return stack.at(static_cast<size_t>(position.index));
  };
  return scheme;
}

}  // namespace evenkeel::detail
