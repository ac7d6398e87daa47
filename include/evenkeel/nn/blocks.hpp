// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/detail/find_by_name.hpp>
#include <evenkeel/residual/gain.hpp>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::nn {

/// The gains of a layer's residuals, where a block has its own: y = skip * x + resid * f(x).
struct BlockGains {
  Gain attention_skip;
  Gain attention_resid;
  Gain feed_forward_skip;
  Gain feed_forward_resid;
};

/// What a Transformer layer is made of, beside the scheme of its residuals. The options of stacks
/// and models name one: `StackOptions(18, 768, 12, 3072).block("sas-p")`.
struct Block {
  enum class Attention {
    kPlain,          ///< `MultiHeadAttention`
    kShaped,         ///< `ShapedAttention`, without value and output matrices
    kValueSkipInit,  ///< The same without C; the softmax's gain begins at 0
  };

  std::string name;     ///< For options, e.g. `sas-p`.
  std::string title;    ///< As its paper writes it, e.g. `SAS-P`.
  std::string summary;  ///< A one-line description.
  Attention attention = Attention::kPlain;
  bool parallel = false;        ///< Attention and feed-forward of one input, in one residual.
  bool query_key_norm = false;  ///< An RMSNorm of each head's query and key.
  /// The gains in a stack of that many layers; empty where they are the scheme's.
  std::function<BlockGains(int64_t)> gains = nullptr;
};

namespace detail {

/// Gains of a branch that are O(1/sqrt(num_layers)), and `value` at the depth of the authors'
/// configuration.
inline double by_depth(double value, int64_t of_layers, int64_t num_layers) {
  return value * std::sqrt(static_cast<double>(of_layers) / static_cast<double>(num_layers));
}

/// Attention without a shortcut; the feed-forward's branch begins at .1 in 18 layers.
inline BlockGains skipless_gains(int64_t num_layers) {
  const auto trained = [](double value) { return Gain::trained(value, GainShape::kScalar); };
  return {Gain::zero(), trained(1.0), trained(1.0), trained(by_depth(0.1, 18, num_layers))};
}

inline BlockGains outlier_protected_gains(int64_t num_layers) {
  const auto gain = Gain::fixed(by_depth(0.2, 12, num_layers));
  return {Gain::one(), gain, Gain::one(), gain};
}

}  // namespace detail

/// All blocks of the library, in the order in which tables list them.
/// Papers: He and Hofmann 2023, https://arxiv.org/abs/2311.01906 (SAS, SAS-P, value-SkipInit); He
/// et al. 2024, https://arxiv.org/abs/2405.19279 (OP). Gains and names of the settings: their code,
/// bobby-he/simplified_transformers.
inline const std::vector<Block>& blocks() {
  using Kind = Block::Attention;
  static const std::vector<Block> all{
      {"default", "default", "attention, then feed-forward, each in the scheme's residual"},
      {"parallel",
       "parallel",
       "attention and feed-forward of one input, in one residual of the scheme, as in GPT-J",
       Kind::kPlain,
       /*parallel=*/true},
      {"sas",
       "SAS",
       "shaped attention without shortcut, value and output matrices; then feed-forward",
       Kind::kShaped,
       /*parallel=*/false,
       /*query_key_norm=*/false,
       detail::skipless_gains},
      {"sas-p",
       "SAS-P",
       "SAS in parallel: no shortcut at all",
       Kind::kShaped,
       /*parallel=*/true,
       /*query_key_norm=*/false,
       detail::skipless_gains},
      {"value-skipinit",
       "value-SkipInit",
       "SAS with alpha * I + beta * softmax as attention, beta from 0",
       Kind::kValueSkipInit,
       /*parallel=*/false,
       /*query_key_norm=*/false,
       detail::skipless_gains},
      {"op",
       "OP",
       "outlier-protected: an RMSNorm of query and key, and branches times O(1/sqrt(N))",
       Kind::kPlain,
       /*parallel=*/false,
       /*query_key_norm=*/true,
       detail::outlier_protected_gains}};
  return all;
}

/// Returns the block of the given name, e.g. `find_block("sas-p")`. Throws c10::ValueError for an
/// unknown name and suggests the nearest one.
inline const Block& find_block(std::string_view name) {
  return evenkeel::detail::find_by_name("find_block", blocks(), name);
}

}  // namespace evenkeel::nn
