// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/init/scheme_init.hpp>
#include <evenkeel/residual/tfixup.hpp>

namespace evenkeel {

/// Options for `TFixupInit`, e.g. `TFixupOptions().encoder_layers(18).decoder_layers(18)`.
using TFixupOptions = InitOptions;

/// T-Fixup's initialisation of a model without LayerNorm, trained without warm-up:
///
///     encoder value, attention output, feed-forward matrices    .67 N^(-1/4)
///     decoder value, attention output, feed-forward matrices    (9M)^(-1/4)
///     token embeddings  (9N)^(-1/4) of the encoder, or shared; (9M)^(-1/4) of the decoder
///     query, key                                                1/sqrt(2)
///     learned positions, head                                   1
///
/// These are gains of Xavier-uniform matrices, and of N(0, 1/d) for embeddings, positions and head;
/// biases are 0. The distributions are those of layer6ai-labs/T-Fixup, whose factor of the value
/// matrix has an additional sqrt(2), because it scales values that were initialised with gain
/// 1/sqrt(2). Its positions are sinusoidal; learned ones are initialised as fairseq does. A model
/// with norms is an error unless `allow_norms` is set.
/// Paper: Huang et al., ICML 2020, "Improving Transformer Optimization Through Better
/// Initialization".
template <typename Model, typename... Blocks>
using TFixupInit = SchemeInit<TFixup, Model, Blocks...>;

}  // namespace evenkeel
