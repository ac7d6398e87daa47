// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/residual/any_norm.hpp>
#include <evenkeel/residual/dyt.hpp>
#include <evenkeel/residual/rms_norm.hpp>
#include <evenkeel/residual/scale_norm.hpp>

#include <c10/util/Exception.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>

namespace evenkeel::detail {

/// The module as a `Holder` if it is of exactly that type; empty otherwise, also for a class that
/// is derived from it and may compute something else.
template <typename Holder>
Holder exactly(const std::shared_ptr<torch::nn::Module>& module) {
  using Impl = typename Holder::ContainedType;
  const auto& of = *module;
  return typeid(of) == typeid(Impl) ? Holder(std::static_pointer_cast<Impl>(module))
                                    : Holder(nullptr);
}

/// A norm of a folded model, which takes over factors on its input and output. `name` is its
/// registered name.
class FoldedNorm {
 public:
  FoldedNorm(const AnyNorm& norm, std::string name) : FoldedNorm(norm.ptr(), std::move(name)) {}
  FoldedNorm(const std::shared_ptr<torch::nn::Module>& norm, std::string name)
      : name_(std::move(name)),
        layer_norm_(exactly<torch::nn::LayerNorm>(norm)),
        rms_norm_(exactly<RMSNorm>(norm)),
        scale_norm_(exactly<ScaleNorm>(norm)),
        dyt_(exactly<DyT>(norm)) {}

  /// Returns whether it has a factor for each channel of its output.
  bool has_channels() const {
    if (!layer_norm_.is_empty()) return layer_norm_->weight.defined();
    return !rms_norm_.is_empty() || !dyt_.is_empty();
  }
  /// Returns whether it can multiply its output by `factor`.
  bool takes(const ChannelScale& factor) const {
    return factor.is_one() || has_channels() || (factor.is_uniform() && !scale_norm_.is_empty());
  }

  /// Changes norm(x) to factor * norm(x).
  void scale_output(const ChannelScale& factor) {
    TORCH_CHECK(takes(factor),
                "fold: expected ",
                name_,
                " to take a factor ",
                factor.is_uniform() ? "" : "for each channel ",
                "on its output, but got ",
                what(),
                "; LayerNorm, RMSNorm and DyT have a weight for each channel");
    if (!layer_norm_.is_empty()) {
      factor.scale_columns(layer_norm_->weight);
      factor.scale_columns(layer_norm_->bias);
    } else if (!rms_norm_.is_empty()) {
      factor.scale_columns(rms_norm_->weight);
    } else if (!scale_norm_.is_empty()) {
      factor.scale_columns(scale_norm_->g);
    } else if (!dyt_.is_empty()) {
      factor.scale_columns(dyt_->weight);
      factor.scale_columns(dyt_->bias);
    }
  }

  /// The factor on its input with which its eps would become `eps`; 1 if it has none.
  double factor_for(double wanted) const {
    const double ratio = eps().value_or(wanted) / wanted;
    return scale_norm_.is_empty() ? std::sqrt(ratio) : ratio;
  }

  /// Changes norm(x) to norm(factor * x), for a factor other than 0. Returns the new eps, if it has
  /// one.
  std::optional<double> scale_input(double factor) {
    if (factor == 1.0) return eps();
    const ChannelScale sign(factor < 0.0 ? -1.0 : 1.0);
    if (!layer_norm_.is_empty()) {
      TORCH_CHECK(factor > 0.0 || layer_norm_->weight.defined(),
                  "fold: expected ",
                  name_,
                  " to have a weight, which takes the sign of a negative gain, but got ",
                  what());
      sign.scale_columns(layer_norm_->weight);
      layer_norm_->options.eps(layer_norm_->options.eps() / (factor * factor));
    } else if (!rms_norm_.is_empty()) {
      sign.scale_columns(rms_norm_->weight);
      rms_norm_->options.eps(rms_norm_->options.eps() / (factor * factor));
    } else if (!scale_norm_.is_empty()) {
      sign.scale_columns(scale_norm_->g);
      scale_norm_->options.eps(scale_norm_->options.eps() / std::abs(factor));
    } else if (!dyt_.is_empty()) {
      ChannelScale(factor).scale_columns(dyt_->alpha);
    } else {
      TORCH_CHECK(false,
                  "fold: expected ",
                  name_,
                  " to be LayerNorm, RMSNorm, ScaleNorm or DyT, whose input can be divided by a "
                  "gain, but got ",
                  what());
    }
    return eps();
  }

 private:
  std::optional<double> eps() const {
    if (!layer_norm_.is_empty()) return layer_norm_->options.eps();
    if (!rms_norm_.is_empty()) return rms_norm_->options.eps();
    if (!scale_norm_.is_empty()) return scale_norm_->options.eps();
    return std::nullopt;
  }

  std::string what() const {
    if (!layer_norm_.is_empty()) return "a LayerNorm without weight";
    if (!scale_norm_.is_empty()) return "ScaleNorm, which has one factor for all channels";
    return "a norm of another type";
  }

  std::string name_;
  torch::nn::LayerNorm layer_norm_;
  RMSNorm rms_norm_;
  ScaleNorm scale_norm_;
  DyT dyt_;
};

}  // namespace evenkeel::detail
