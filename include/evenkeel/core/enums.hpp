// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/error.hpp>

#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>

namespace evenkeel {

/// How fast the output change of a stack may grow with its depth.
/// Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249.
enum class OutputChangeScale { kON, kOLogN, kO1 };

/// As the paper and microsoft/admin-torch write it.
constexpr const char* to_string(OutputChangeScale scale) {
  switch (scale) {
    case OutputChangeScale::kON:
      return "O(n)";
    case OutputChangeScale::kOLogN:
      return "O(logn)";
    case OutputChangeScale::kO1:
      return "O(1)";
  }
  return "?";
}

/// Parses "O(n)", "O(logn)" or "O(1)", or admin-torch's "default", O(logn).
/// Throws std::invalid_argument for any other name.
inline OutputChangeScale parse_output_change_scale(std::string_view name) {
  for (const auto scale :
       {OutputChangeScale::kON, OutputChangeScale::kOLogN, OutputChangeScale::kO1}) {
    if (name == to_string(scale)) return scale;
  }
  detail::require(name == "default",
                  "output_change_scale: expected O(n), O(logn), O(1) or default, but got ",
                  name.empty() ? std::string_view("nothing") : name);
  return OutputChangeScale::kOLogN;
}

/// The norms of the library. All normalise the last dimension.
enum class NormKind {
  kNone,
  kLayerNorm,  ///< (x - mean) / sqrt(var + eps) * weight + bias
  kRmsNorm,    ///< x / sqrt(mean(x^2) + eps) * weight
  kDyT,        ///< tanh(alpha * x) * weight + bias, without statistics
  kScaleNorm,  ///< g * x / |x|, with one trained scalar g
};

constexpr const char* to_string(NormKind kind) {
  switch (kind) {
    case NormKind::kNone:
      return "none";
    case NormKind::kLayerNorm:
      return "LayerNorm";
    case NormKind::kRmsNorm:
      return "RMSNorm";
    case NormKind::kDyT:
      return "DyT";
    case NormKind::kScaleNorm:
      return "ScaleNorm";
  }
  return "?";
}

/// The activation between the matrices of a feed-forward branch.
enum class Activation {
  kReLU,       ///< max(h, 0)
  kGELU,       ///< h * Phi(h), Phi the CDF of the normal distribution
  kSwiGLU,     ///< silu(g) * h, where g is computed by a third matrix
  kLeakyReLU,  ///< max(h, 0) + slope * min(h, 0)
  kSiLU,       ///< h * sigmoid(h), also called swish
};

constexpr const char* to_string(Activation activation) {
  switch (activation) {
    case Activation::kReLU:
      return "ReLU";
    case Activation::kGELU:
      return "GELU";
    case Activation::kSwiGLU:
      return "SwiGLU";
    case Activation::kLeakyReLU:
      return "LeakyReLU";
    case Activation::kSiLU:
      return "SiLU";
  }
  return "?";
}

/// The kind of branch of a residual sub-layer.
enum class SublayerKind { kSelfAttention, kCrossAttention, kFeedForward, kOther };

constexpr const char* to_string(SublayerKind kind) {
  switch (kind) {
    case SublayerKind::kSelfAttention:
      return "self-attention";
    case SublayerKind::kCrossAttention:
      return "cross-attention";
    case SublayerKind::kFeedForward:
      return "feed-forward";
    case SublayerKind::kOther:
      return "other";
  }
  return "?";
}

/// The two kinds of stack of a Transformer. A decoder-only model is a decoder without
/// cross-attention.
enum class Stack { kEncoder, kDecoder };

constexpr const char* to_string(Stack stack) {
  return stack == Stack::kEncoder ? "encoder" : "decoder";
}

/// The side on which rows of token ids are padded.
enum class PaddingSide {
  kRight,   ///< After the tokens; a causal stack then needs no padding mask.
  kEither,  ///< Before or after the tokens; positions count only tokens that are not padding.
};

constexpr const char* to_string(PaddingSide side) {
  return side == PaddingSide::kRight ? "right" : "either";
}

/// The role of a parameter in a Transformer.
enum class Role {
  kEmbedding,  ///< of tokens
  kPosition,   ///< a learned table of positions
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kFeedForwardIn,
  kFeedForwardOut,
  kNorm,
  kGain,
  kBias,
  kHead,      ///< the output projection, if it is not tied to an embedding
  kUnscaled,  ///< any other parameter; it is not initialised
};

constexpr const char* to_string(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return "embedding";
    case Role::kPosition:
      return "position";
    case Role::kQuery:
      return "query";
    case Role::kKey:
      return "key";
    case Role::kValue:
      return "value";
    case Role::kAttentionOutput:
      return "attention output";
    case Role::kFeedForwardIn:
      return "feed-forward in";
    case Role::kFeedForwardOut:
      return "feed-forward out";
    case Role::kNorm:
      return "norm";
    case Role::kGain:
      return "gain";
    case Role::kBias:
      return "bias";
    case Role::kHead:
      return "head";
    case Role::kUnscaled:
      return "unscaled";
  }
  return "?";
}

/// Prints any of the library's enums by its name, on streams and with fmt.
template <typename Enum, typename = std::enable_if_t<std::is_enum_v<Enum>>>
auto operator<<(std::ostream& stream, Enum value)
    -> decltype(to_string(value), static_cast<std::ostream&>(stream)) {
  return stream << to_string(value);
}

template <typename Enum, typename = std::enable_if_t<std::is_enum_v<Enum>>>
auto format_as(Enum value) -> decltype(std::string(to_string(value))) {
  return to_string(value);
}

}  // namespace evenkeel
