// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/arg.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/norm_type.hpp>

#include <c10/util/Exception.h>

#include <cstdint>
#include <memory>

namespace evenkeel {

namespace detail {

/// Options that all residuals share.
template <typename Derived>
class JoinOptions {
 public:
  explicit JoinOptions(const Position& position, int64_t embed_dim)
      : position_(position), embed_dim_(embed_dim) {}

  /// Throws unless all values are in range; the error names `module`.
  void check(const char* module) const {
    TORCH_CHECK(position_.num_res_layers >= 1,
                module,
                ": expected num_res_layers >= 1, but got ",
                position_.num_res_layers);
    TORCH_CHECK(dropout_ >= 0.0 && dropout_ < 1.0,
                module,
                ": expected dropout in [0, 1), but got ",
                dropout_);
    TORCH_CHECK(eps_ >= 0.0, module, ": expected eps > 0, or 0 for the default, but got ", eps_);
  }

  /// Position of the sub-layer, which is passed to the scheme and to observers.
  EVENKEEL_ARG(Position, position);
  /// Size of the last dimension of the input.
  EVENKEEL_ARG(int64_t, embed_dim);
  /// Probability with which an element of the branch's output is dropped while training. Default: 0
  EVENKEEL_ARG(double, dropout) = 0.0;
  /// The norm's eps. Default: 0, the norm's own default
  EVENKEEL_ARG(double, eps) = 0.0;
};

}  // namespace detail

class ResidualImpl;

/// Options for `Residual`, e.g. `ResidualOptions(Position::of(36), 512).dropout(0.1)`.
class ResidualOptions : public detail::JoinOptions<ResidualOptions> {
 public:
  using Derived = ResidualOptions;
  ResidualOptions(const Position& position, int64_t embed_dim) : JoinOptions(position, embed_dim) {}

  /// The norm that is used wherever the scheme has one. Default: LayerNorm
  EVENKEEL_ARG(NormType, norm);
  /// The first residual of the layer, whose gain this one uses if the scheme's gain is shared in a
  /// layer, as ReZero's: `.shares_gain_of(first.ptr())`. Default: none, a gain of its own
  EVENKEEL_ARG(std::shared_ptr<ResidualImpl>, shares_gain_of);
};

/// Options for `AdminResidual`, e.g. `AdminResidualOptions(36).as_parameter(true).embed_dim(512)`.
/// embed_dim is needed if omega is trained or a norm is made from the options; otherwise it may be
/// left at 0.
class AdminResidualOptions : public detail::JoinOptions<AdminResidualOptions> {
 public:
  using Derived = AdminResidualOptions;
  /// Residual sub-layers in the whole stack: 2N for an N-layer encoder, 3M for an M-layer decoder.
  // NOLINTNEXTLINE(google-explicit-constructor): a bare count is the common case
  AdminResidualOptions(int64_t num_res_layers) : JoinOptions(Position::of(num_res_layers), 0) {}
  /// The same with a whole position, which observers receive.
  // NOLINTNEXTLINE(google-explicit-constructor): as a bare count
  AdminResidualOptions(const Position& position) : JoinOptions(position, 0) {}

  int64_t num_res_layers() const { return position().num_res_layers; }

  /// How fast the output change may grow with depth. Default: `O(logn)`
  EVENKEEL_ARG(OutputChangeScale, output_change_scale) = OutputChangeScale::kOLogN;
  /// Train omega, one value per feature; needs `embed_dim`. Default: false
  EVENKEEL_ARG(bool, as_parameter) = false;
  /// The norm of the sum; needs `embed_dim`. Default: none
  EVENKEEL_ARG(NormType, norm) = NormKind::kNone;
};

}  // namespace evenkeel
