// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/dyt.hpp>
#include <evenkeel/residual/rms_norm.hpp>
#include <evenkeel/residual/scale_norm.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

namespace evenkeel {

namespace detail {

template <typename Holder, typename = void>
struct HasNormForward : std::false_type {};
template <typename Holder>
struct HasNormForward<
    Holder,
    std::void_t<decltype(torch::Tensor(std::declval<typename Holder::ContainedType&>().forward(
        std::declval<const torch::Tensor&>())))>> : std::true_type {};

}  // namespace detail

/// The type of norm that residuals use: a kind, such as `NormKind::kRmsNorm`, or
/// `NormType::of<MyNorm>()` for one of your own, which has
///
/// - a module holder, made by TORCH_MODULE, that can be constructed from embed_dim alone;
/// - `torch::Tensor forward(const torch::Tensor& x)`, which returns a tensor of the shape (*,
///   embed_dim) and the dtype of x;
/// - `NormModule` as a base class, so that anatomies recognise it in any model;
/// - `void reset_parameters()`, if it has parameters and is to be re-initialised;
/// - torch::nn::Cloneable as a base class, if the model is to be cloned;
/// - a specialisation of `FusedNorm`, if it is a LayerNorm or an RMSNorm and is to be fused.
class NormType {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): a kind is a type of norm
  NormType(NormKind kind = NormKind::kLayerNorm) : kind_(kind) {}

  template <typename Holder>
  static NormType of() {
    static_assert(torch::detail::is_module_holder<Holder>::value,
                  "Norm: pass torch::nn::LayerNorm or another module holder (made by "
                  "TORCH_MODULE)");
    static_assert(detail::HasNormForward<Holder>::value,
                  "Norm: the module needs `torch::Tensor forward(const torch::Tensor& x)`");
    if constexpr (std::is_same_v<Holder, torch::nn::LayerNorm>) {
      return NormKind::kLayerNorm;
    } else if constexpr (std::is_same_v<Holder, RMSNorm>) {
      return NormKind::kRmsNorm;
    } else if constexpr (std::is_same_v<Holder, DyT>) {
      return NormKind::kDyT;
    } else if constexpr (std::is_same_v<Holder, ScaleNorm>) {
      return NormKind::kScaleNorm;
    } else {
      static_assert(std::is_constructible_v<Holder, int64_t>,
                    "Norm: pass torch::nn::LayerNorm or a module holder that is made from "
                    "embed_dim alone, Norm(512)");
      NormType type;
      type.make_ = [](int64_t embed_dim) { return AnyNorm(Holder(embed_dim)); };
      return type;
    }
  }

  NormKind kind() const { return kind_; }
  /// Returns whether there is no norm.
  bool is_none() const { return !is_custom() && kind_ == NormKind::kNone; }
  /// Returns whether this is a user-defined norm.
  bool is_custom() const { return make_ != nullptr; }
  /// The name of the norm, e.g. `RMSNorm`.
  std::string name() const { return is_custom() ? "custom norm" : to_string(kind_); }

  /// Makes a norm over `embed_dim` values; it is empty for `NormKind::kNone`. `eps` is added to the
  /// variance or mean square; 0 means the norm's default: 1e-6 for RMSNorm, 1e-5 for the others.
  /// Throws if an eps is given for a norm that has none.
  AnyNorm make(int64_t embed_dim, double eps = 0.0) const {
    TORCH_CHECK(eps >= 0.0, "norm: expected eps > 0, or 0 for the default, but got ", eps);
    TORCH_CHECK(eps == 0.0 || !(is_custom() || kind_ == NormKind::kDyT),
                "norm: ",
                name(),
                " does not take an eps, but got ",
                eps);
    if (is_custom()) return make_(embed_dim);
    const auto with_eps = [&](auto options) { return eps > 0.0 ? options.eps(eps) : options; };
    switch (kind_) {
      case NormKind::kLayerNorm:
        return torch::nn::LayerNorm(with_eps(torch::nn::LayerNormOptions({embed_dim})));
      case NormKind::kRmsNorm:
        return RMSNorm(with_eps(RMSNormOptions(embed_dim)));
      case NormKind::kDyT:
        return DyT(embed_dim);
      case NormKind::kScaleNorm:
        return ScaleNorm(with_eps(ScaleNormOptions(embed_dim)));
      case NormKind::kNone:
        break;
    }
    return {};
  }

 private:
  NormKind kind_;
  std::function<AnyNorm(int64_t)> make_;
};

}  // namespace evenkeel
