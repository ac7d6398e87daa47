// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel {

/// Where a norm of a residual sub-layer stands:
///
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
enum class NormSlot {
  kInput,   ///< Of what the branch reads: Pre-LN.
  kInside,  ///< Of what the branch's last matrix reads: Sub-LN.
  kBranch,  ///< Of what the branch gives: Peri-LN.
  kSum,     ///< Of shortcut and branch together: Post-LN.
};

constexpr const char* to_string(NormSlot slot) {
  switch (slot) {
    case NormSlot::kInput:
      return "input";
    case NormSlot::kInside:
      return "inside";
    case NormSlot::kBranch:
      return "branch";
    case NormSlot::kSum:
      return "sum";
  }
  return "?";
}

/// What a gain of a residual sub-layer multiplies.
enum class GainSlot { kShortcut, kBranch, kNorm };

constexpr const char* to_string(GainSlot slot) {
  switch (slot) {
    case GainSlot::kShortcut:
      return "shortcut";
    case GainSlot::kBranch:
      return "branch";
    case GainSlot::kNorm:
      return "norm";
  }
  return "?";
}

/// A norm of a residual sub-layer.
struct SublayerNorm {
  std::optional<NormSlot> slot;               ///< Empty where it is not known.
  std::shared_ptr<torch::nn::Module> module;  ///< Null for a norm that was given as a tensor.
  std::vector<size_t> parameters;  ///< Its weight and bias, if any, in `Anatomy::parameters`.
};

/// A gain of a residual sub-layer: a parameter or a buffer of the model.
struct SublayerGain {
  std::optional<GainSlot> slot;  ///< Empty where it is not known.
  torch::Tensor tensor;
};

/// One residual sub-layer of a model. Its norms and gains are those that its block names; matrices
/// are given by their index in `Anatomy::parameters`.
struct Sublayer {
  std::string name;  ///< What its block calls it, e.g. `attention`.
  Stack stack = Stack::kEncoder;
  int64_t index = 0;  ///< Which sub-layer of its stack, from 0.
  int64_t layer = 0;  ///< Which layer of its stack it is part of, from 0.
  SublayerKind kind = SublayerKind::kOther;

  std::vector<SublayerNorm> norms;
  std::vector<SublayerGain> gains;
  /// What reads the residual stream, behind the input norm if there is one: query, key and value;
  /// a feed-forward's input and gate; a router.
  std::vector<size_t> reads;
  /// What reads the encoder's output: key and value of a cross-attention.
  std::vector<size_t> reads_encoder;
  /// What writes to the residual stream: attention output, feed-forward output.
  std::vector<size_t> writes;
};

}  // namespace evenkeel
