// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/nn/projection.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>
#include <optional>
#include <string>

namespace evenkeel::nn {

/// Which output matrices of a stack begin as the transpose of others, so that orthogonal ones
/// cancel. W_init of an identity is I.
enum class TiedInit {
  kNone,
  kLastLayer,  ///< The last layer's, of the product of all other value and output matrices.
  kAllLayers,  ///< Each layer's, of its own value matrix.
};

constexpr const char* to_string(TiedInit tied) {
  switch (tied) {
    case TiedInit::kNone:
      return "none";
    case TiedInit::kLastLayer:
      return "last layer";
    case TiedInit::kAllLayers:
      return "all layers";
  }
  return "?";
}

/// Options of the blocks with shaped attention, `sas`, `sas-p` and `value-skipinit`: the value and
/// output matrices of their self-attention, e.g.
/// `ShapedBlockOptions().value(orthogonal).output(orthogonal).tied_init(TiedInit::kAllLayers)`,
/// where `orthogonal` is `Projection::reparam(MatrixInit::kOrthogonal)`.
struct ShapedBlockOptions {
  /// The value matrix of every layer. Default: none
  TORCH_ARG(Projection, value) = Projection::identity();
  /// The output matrix of every layer. Default: none
  TORCH_ARG(Projection, output) = Projection::identity();
  /// The value matrix of the first layer. Default: std::nullopt, which means that of every layer,
  /// or `Projection::reparam()`, I + dW, where that is none
  TORCH_ARG(std::optional<Projection>, first_value);
  /// The output matrix of the last layer. Default: std::nullopt, that of every layer
  TORCH_ARG(std::optional<Projection>, last_output);
  /// Which output matrices begin as the transpose of others. It needs `Projection::reparam`.
  /// Default: none
  TORCH_ARG(TiedInit, tied_init) = TiedInit::kNone;
  /// Whether A has the term -gamma * C; value-SkipInit never has. Default: true
  TORCH_ARG(bool, centred) = true;

 public:
  /// The value matrix of a layer, from 0.
  Projection value_of(int64_t layer) const {
    if (layer > 0) return value_;
    const bool none = value_.kind == Projection::Kind::kIdentity;
    return first_value_.value_or(none ? Projection::reparam() : value_);
  }
  /// The output matrix of a layer of a stack.
  Projection output_of(int64_t layer, int64_t num_layers) const {
    return layer + 1 == num_layers ? last_output_.value_or(output_) : output_;
  }

  /// Throws unless the matrices of a stack can be tied as `tied_init` says; the error names
  /// `block`.
  void check(const std::string& block, int64_t num_layers) const {
    using Kind = Projection::Kind;
    const auto has_init = [](const Projection& of) {
      return of.kind == Kind::kReparam && of.init != MatrixInit::kIdentity;
    };
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      const auto value = value_of(layer);
      const auto output = output_of(layer, num_layers);
      const bool last = layer + 1 == num_layers;
      TORCH_CHECK(tied_init_ != TiedInit::kAllLayers || (has_init(value) && has_init(output)),
                  "block ",
                  block,
                  ": expected value and output matrices Projection::reparam that begin orthogonal "
                  "or normal in all layers, for tied_init, but got ",
                  to_string(value),
                  " and ",
                  to_string(output),
                  " in layer ",
                  layer);
      TORCH_CHECK(tied_init_ != TiedInit::kLastLayer ||
                      (value.kind != Kind::kLinear && output.kind != Kind::kLinear &&
                       (!last || has_init(output))),
                  "block ",
                  block,
                  ": expected no Projection::linear, and an output matrix of the last layer that "
                  "begins orthogonal or normal, for tied_init, but got ",
                  to_string(value),
                  " and ",
                  to_string(output),
                  " in layer ",
                  layer);
    }
  }
};

}  // namespace evenkeel::nn
