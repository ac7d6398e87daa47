// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/torch_nn.hpp>
#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/init/apply_init.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>

namespace evenkeel {

/// Options for `TFixupInit`, e.g. `TFixupOptions().encoder_layers(18).decoder_layers(18)`. A model
/// with a single stack gives one of the two depths: `TFixupOptions().decoder_layers(12)`.
struct TFixupOptions {
  /// Layers of the encoder. Default: 0, none
  TORCH_ARG(int64_t, encoder_layers) = 0;
  /// Layers of the decoder. Default: 0, none
  TORCH_ARG(int64_t, decoder_layers) = 0;
  /// Draw every layer's weights afresh, as the paper does; torch::nn::Transformer's layers are
  /// clones, which start identical. If false, the present weights are scaled: a packed
  /// in_proj_weight must then have come from Xavier's rule over its whole (torch::nn's way),
  /// separate value projections from the same rule over each. Default: true
  TORCH_ARG(bool, redraw) = true;
};

/// T-Fixup's initialisation of a model without LayerNorm, trained without warm-up:
///
///     encoder value, attention output, feed-forward matrices    .67 N^(-1/4)
///     decoder value, attention output, feed-forward matrices    (9M)^(-1/4)
///     embeddings     (9N)^(-1/4) of the encoder, or shared; (9M)^(-1/4) of the decoder
///     query, key, biases, head                                  1
///
/// as the gain of Xavier's rule, in which query, key and head differ from layer6ai-labs/T-Fixup by
/// nothing: see `plain_draw`. There the value's factor holds sqrt(2) more, as its values are drawn
/// with gain 1/sqrt(2).
/// `Model` tells its roles by an `AnatomyOf<Model>`, or is built of torch::nn's layers, or holds
/// blocks of the types `Blocks...`.
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

  /// Writes the weights of `model` and returns what was scaled, and by which factor. Throws, and
  /// changes nothing, if a parameter has no role or the model has other depths than the options.
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
  // A packed value has gain 1/sqrt(2) already: Xavier's rule saw a (3d, d) matrix.
  static Draw scaled_kept(const ParameterRole& parameter, const Position& position) {
    const auto plain = plain_draw(parameter.role);
    const auto drawn = tfixup_draw(parameter.role, position);
    if (drawn == plain) return Draw::keep();
    const double drawn_with = parameter.packed() ? plain.gain : 1.0;
    return Draw::keep(drawn.gain / drawn_with);
  }
};

}  // namespace evenkeel
