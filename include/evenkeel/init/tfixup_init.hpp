// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/init/apply_init.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>

namespace evenkeel {

/// Options for `TFixupInit`, e.g. `TFixupOptions().encoder_layers(18).decoder_layers(18)`. For a
/// model with a single stack, set one of the two: `TFixupOptions().decoder_layers(12)`.
struct TFixupOptions {
  /// Layers of the encoder. Default: 0, none
  TORCH_ARG(int64_t, encoder_layers) = 0;
  /// Layers of the decoder. Default: 0, none
  TORCH_ARG(int64_t, decoder_layers) = 0;
  /// Re-initialise the weights of every layer, as in the paper; torch::nn::Transformer's layers are
  /// clones, which start identical. If false, the existing weights are scaled: a packed
  /// in_proj_weight must then have been initialised as one Xavier-uniform matrix (as torch::nn
  /// does), separate value projections as one each. Default: true
  TORCH_ARG(bool, redraw) = true;
};

/// T-Fixup's initialisation of a model without LayerNorm, trained without warm-up:
///
///     encoder value, attention output, feed-forward matrices    .67 N^(-1/4)
///     decoder value, attention output, feed-forward matrices    (9M)^(-1/4)
///     embeddings     (9N)^(-1/4) of the encoder, or shared; (9M)^(-1/4) of the decoder
///     query, key                                                1/sqrt(2)
///     head                                                      1
///
/// These are gains of Xavier-uniform matrices, and of N(0, 1/d) for embeddings and head; biases are
/// 0. The distributions are those of layer6ai-labs/T-Fixup, whose factor of the value matrix has an
/// additional sqrt(2), because it scales values that were initialised with gain 1/sqrt(2). `Model`
/// has an `AnatomyOf<Model>`, or is built of torch::nn's layers, or holds blocks of the types
/// `Blocks...`.
/// Paper: Huang et al., ICML 2020, "Improving Transformer Optimization Through Better
/// Initialization".
template <typename Model, typename... Blocks>
class TFixupInit {
 public:
  explicit TFixupInit(const TFixupOptions& options_) : options(options_) {
    TORCH_CHECK(options.encoder_layers() >= 0 && options.decoder_layers() >= 0 &&
                    options.encoder_layers() + options.decoder_layers() > 0,
                "TFixupInit: expected encoder_layers or decoder_layers > 0, but got ",
                options.encoder_layers(),
                " and ",
                options.decoder_layers());
  }

  /// Initialises `model` and reports how. Throws, and changes nothing, if a parameter has no role
  /// or the depths of the model differ from the options.
  InitReport operator()(Model& model) const {
    const auto stack = options.encoder_layers() > 0 ? Stack::kEncoder : Stack::kDecoder;
    const auto anatomy = anatomy_of<Blocks...>(model, stack);
    TORCH_CHECK(anatomy.encoder_layers == options.encoder_layers() &&
                    anatomy.decoder_layers == options.decoder_layers(),
                "TFixupInit: expected ",
                options.encoder_layers(),
                " encoder and ",
                options.decoder_layers(),
                " decoder layers, as the options say, but ",
                detail::contained(model).name(),
                " has ",
                anatomy.encoder_layers,
                " and ",
                anatomy.decoder_layers);
    if (options.redraw()) return apply_init(anatomy, tfixup_draw);
    return apply_init(anatomy, scaled_kept);
  }

  TFixupOptions options;  ///< The options with which this init was constructed.

 private:
  // A packed value matrix already has gain 1/sqrt(2): it was initialised as a part of a (3d, d)
  // one.
  static Draw scaled_kept(const ParameterRole& parameter, const Position& position) {
    const auto plain = plain_draw(parameter.role);
    const auto drawn = tfixup_draw(parameter.role, position);
    if (drawn == plain) return Draw::keep();
    const double drawn_with = parameter.packed() ? plain.gain : 1.0;
    return Draw::keep(drawn.gain / drawn_with);
  }
};

}  // namespace evenkeel
