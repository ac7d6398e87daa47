// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/anatomy/sublayer.hpp>
#include <evenkeel/core/enums.hpp>
#include <evenkeel/fold/detail/channel_scale.hpp>
#include <evenkeel/nn/detail/torch_layer.hpp>
#include <evenkeel/residual/residual.hpp>
#include <evenkeel/residual/stream_kind.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

namespace evenkeel::detail {

/// A sub-layer of a model of a user's own, what it has, and what becomes of it.
struct OwnPart {
  const Sublayer* sublayer;
  std::string name;
  std::vector<torch::Tensor> shortcuts, branches;  ///< The tensors of its gains.
  ChannelScale shortcut, branch;                   ///< Their values.
  const SublayerNorm* sum_norm = nullptr;
  const SublayerNorm* input_norm = nullptr;
  ChannelScale rows, columns;  ///< Factors on what writes, and on the columns of what reads.
  ChannelScale norm_output;
  ChannelScale kept;  ///< What the shortcut's gain becomes.
  double norm_input = 1.0;
};

/// Throws unless every residual of ours has one stream, and a shortcut.
inline void check_residuals(const torch::nn::Module& model) {
  const auto check = [](const std::string& name, const ResidualImpl& residual) {
    TORCH_CHECK(residual.stream_kind() == StreamKind::kPlain && residual.has_shortcut(),
                "fold: expected residuals of one stream with a shortcut, but ",
                name,
                " is of ",
                residual.scheme_title());
  };
  for (const auto& item : model.named_modules()) {
    const auto* module = item.value().get();
    if (const auto* residual = dynamic_cast<const ResidualImpl*>(module)) {
      check(item.key(), *residual);
    } else if (const auto* layer = dynamic_cast<const nn::detail::TorchLayer*>(module)) {
      for (const auto& part : layer->layer->sublayers) check(item.key(), *part.residual);
    }
  }
}

/// Throws unless every gain that the anatomy, or a name, tells of is of a sub-layer that says what
/// it multiplies.
inline void check_gains(const torch::nn::Module& model, const Anatomy& anatomy) {
  const auto check = [&](const std::string& name, const torch::Tensor& tensor) {
    for (const auto& sublayer : anatomy.sublayers) {
      for (const auto& gain : sublayer.gains) {
        if (!gain.tensor.is_same(tensor)) continue;
        TORCH_CHECK(gain.slot.has_value(),
                    "fold: expected to know what the gain ",
                    name,
                    " multiplies; in AnatomyOf, give its sub-layer .gain(tensor, "
                    "GainSlot::kShortcut) or GainSlot::kBranch");
        return;
      }
    }
    TORCH_CHECK(false,
                "fold: expected a sub-layer that has the gain ",
                name,
                "; in AnatomyOf, give it .gain(tensor, GainSlot::kShortcut) or GainSlot::kBranch");
  };
  for (const auto& parameter : anatomy.parameters) {
    if (parameter.role == Role::kGain) check(parameter.name, parameter.tensor);
  }
  for (const auto& item : model.named_buffers()) {
    const auto last = item.key().substr(item.key().rfind('.') + 1);
    if (last == "omega" || last == "branch_gain") check(item.key(), item.value());
  }
}

/// What the anatomy tells of a sub-layer.
inline OwnPart own_part(const Sublayer& sublayer) {
  OwnPart part{};
  part.sublayer = &sublayer;
  part.name =
      fmt::format("{}.layer_{}.{}", to_string(sublayer.stack), sublayer.layer, sublayer.name);
  for (const auto& gain : sublayer.gains) {
    const bool shortcut = gain.slot == GainSlot::kShortcut;
    if (!gain.tensor.defined() || (!shortcut && gain.slot != GainSlot::kBranch)) continue;
    const auto value = ChannelScale::of(gain.tensor);
    TORCH_CHECK(value.is_finite(),
                "fold: expected finite gains, but got NaN or infinity at ",
                part.name);
    TORCH_CHECK(!shortcut || !value.has_zero(),
                "fold: expected gains of the shortcut other than 0, which the branch is divided "
                "by, but got 0 at ",
                part.name);
    (shortcut ? part.shortcuts : part.branches).push_back(gain.tensor);
    auto& values = shortcut ? part.shortcut : part.branch;
    values = values * value;
  }
  for (const auto& norm : sublayer.norms) {
    if (norm.slot == NormSlot::kSum) part.sum_norm = &norm;
    if (norm.slot == NormSlot::kInput) part.input_norm = &norm;
  }
  return part;
}

}  // namespace evenkeel::detail
