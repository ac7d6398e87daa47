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

/// The place of a norm in a residual sub-layer:
///
///     x = stream_norm(x)
///     y = sum_norm( shortcut * x + branch * branch_norm( f( input_norm(x) ) ) )
enum class NormSlot {
  kStream,  ///< On the stream, so that shortcut and branch both read it.
  kSecond,  ///< On the second stream, where a scheme has two.
  kInput,   ///< On the input of the branch: Pre-LN.
  kHeads,   ///< On each head's query, key or value.
  kInside,  ///< On the input of the branch's last matrix: Sub-LN.
  kBranch,  ///< On the output of the branch: Peri-LN.
  kSum,     ///< On the sum of shortcut and branch: Post-LN.
};

constexpr const char* to_string(NormSlot slot) {
  switch (slot) {
    case NormSlot::kStream:
      return "stream";
    case NormSlot::kSecond:
      return "second";
    case NormSlot::kInput:
      return "input";
    case NormSlot::kHeads:
      return "heads";
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
enum class GainSlot { kShortcut, kBranch, kNorm, kHeads, kMatrix };

constexpr const char* to_string(GainSlot slot) {
  switch (slot) {
    case GainSlot::kShortcut:
      return "shortcut";
    case GainSlot::kBranch:
      return "branch";
    case GainSlot::kNorm:
      return "norm";
    case GainSlot::kHeads:
      return "heads";
    case GainSlot::kMatrix:
      return "matrix";
  }
  return "?";
}

/// A norm of a residual sub-layer.
struct SublayerNorm {
  std::optional<NormSlot> slot;               ///< Empty where it is not known.
  std::shared_ptr<torch::nn::Module> module;  ///< Null if the norm was given as a tensor.
  std::vector<size_t> parameters;  ///< Its weight and bias, if any, in `Anatomy::parameters`.
};

/// A gain of a residual sub-layer: a parameter or a buffer of the model.
struct SublayerGain {
  std::optional<GainSlot> slot;  ///< Empty where it is not known.
  torch::Tensor tensor;
};

/// One residual sub-layer of a model. Its norms and gains are those that its block describes;
/// matrices are given by their index in `Anatomy::parameters`.
struct Sublayer {
  std::string name;  ///< The name that its block gives it, e.g. `attention`.
  Stack stack = Stack::kEncoder;
  int64_t index = 0;  ///< Index of the sub-layer in its stack, from 0.
  int64_t layer = 0;  ///< Index of its layer in the stack, from 0.
  SublayerKind kind = SublayerKind::kOther;

  std::vector<SublayerNorm> norms;
  std::vector<SublayerGain> gains;
  /// Matrices that read the residual stream, after the input norm if there is one: query, key and
  /// value; a feed-forward's input and gate; a router.
  std::vector<size_t> reads;
  /// Matrices that read the encoder's output: key and value of cross-attention.
  std::vector<size_t> reads_encoder;
  /// Matrices that write to the residual stream: attention output, feed-forward output.
  std::vector<size_t> writes;
};

}  // namespace evenkeel
