// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/depth_factors.hpp>
#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/residual/detail/find_by_name.hpp>
#include <evenkeel/residual/scheme.hpp>

#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel {

/// A published initialisation of all weights of a Transformer, by role and position. `with_init`
/// gives it to a scheme, and so to `SchemeInit` and to the ready-made models:
///
///     const auto scheme = with_init(find_scheme("pre"), find_init("gpt2"));
///     SchemeInit<Scheme, MyModel, MyBlock> begin(scheme, InitOptions().decoder_layers(24));
struct Init {
  std::string name;     ///< For options, e.g. `ds-init`.
  std::string title;    ///< As its paper writes it, e.g. `DS-Init`.
  std::string summary;  ///< A one-line description.
  std::function<Draw(Role, const Position&)> draw;
};

/// The same scheme with other initial weights. The title becomes e.g. `Pre-LN, GPT-2`.
inline Scheme with_init(Scheme scheme, const Init& init) {
  scheme.title += ", " + init.title;
  scheme.draw = init.draw;
  return scheme;
}

namespace detail {

/// `plain_draw(role)` with a multiple of its gain.
constexpr Draw scaled_plain(Role role, double factor) {
  auto draw = plain_draw(role);
  draw.gain *= factor;
  return draw;
}

/// The layer, from 1.
inline double layer_number(const Position& position) {
  return static_cast<double>(position.layer + 1);
}

/// torchscale's initial weights: those of nn.Linear in every matrix of a layer, with a factor on
/// those that scale the output of their branch. Its MultiheadAttention has a reset_parameters()
/// with fairseq's weights, but does not call it.
inline Draw torchscale_draw(Role role, double factor) {
  if (!of_layer(role)) return plain_draw(role);
  return Draw::fan_in_uniform(scales_branch(role) ? factor : 1.0);
}

/// torchscale's factor on DeepNorm's weights: beta, but 1.15 where the paper's encoder has .87.
inline double torchscale_beta(const Position& position) {
  const double beta = deepnorm_factors(position).beta;
  const bool beside_decoder = position.stack == Stack::kEncoder && position.decoder_layers != 0;
  return beside_decoder ? beta * 1.15 / 0.87 : beta;
}

inline Draw fixup_draw(Role role, const Position& position) {
  if (role == Role::kAttentionOutput || role == Role::kFeedForwardOut) return Draw::zero();
  if (!of_layer(role)) return plain_draw(role);
  const auto branches = static_cast<double>(2 * static_cast<int64_t>(position.encoder_layers) +
                                            3 * static_cast<int64_t>(position.decoder_layers));
  return scaled_plain(role, std::pow(branches, role == Role::kFeedForwardIn ? -0.5 : -1.0 / 6.0));
}

inline Draw gpt2_draw(Role role, const Position& position) {
  if (role == Role::kAttentionOutput || role == Role::kFeedForwardOut) {
    return Draw::normal(0.02 / std::sqrt(static_cast<double>(position.num_res_layers)));
  }
  const auto plain = plain_draw(role);
  return reads_fans(plain.distribution) ? Draw::normal(0.02) : plain;
}

inline Draw small_init_draw(Role role, const Position&) {
  const double gain = std::sqrt(0.4);
  if (role == Role::kFeedForwardOut) return Draw::fan_out_normal(gain);
  return of_layer(role) ? Draw::fan_in_normal(gain) : plain_draw(role);
}

}  // namespace detail

namespace detail {

/// DT-Fixup for a bound of the branches' outputs by the input's norm: gain (N bound)^(-1/2).
inline Init dt_fixup(double input_norm, double bound) {
  TORCH_CHECK(input_norm > 0.0 && std::isfinite(input_norm),
              "dt_fixup: expected an input_norm > 0, but got ",
              input_norm);
  return {"dt-fixup",
          "DT-Fixup",
          "by the depth and the norm of the stack's input",
          [bound](Role role, const Position& position) {
            if (!scales_branch(role)) return plain_draw(role);
            const auto layers = static_cast<double>(position.num_layers());
            return Draw::xavier_uniform(1.0 / std::sqrt(layers * bound));
          }};
}

}  // namespace detail

/// DT-Fixup's initialisation of a stack of N layers without norms, whose inputs have an L2 norm of
/// at most `input_norm`, mu: Xavier uniform, value, attention output and feed-forward matrices with
/// gain N^(-1/2) / (2 mu). `largest_input_norm` measures mu on data.
/// Paper: Xu et al. 2021, https://arxiv.org/abs/2012.15355.
inline Init dt_fixup(double input_norm) {
  return detail::dt_fixup(input_norm, 4.0 * input_norm * input_norm);
}

/// DT-Fixup for attention with relations (relative positions, edges of a graph), whose gain is
/// (N (4 mu^2 + 2 mu + 2))^(-1/2).
inline Init dt_fixup_relations(double input_norm) {
  return detail::dt_fixup(input_norm, 4.0 * input_norm * input_norm + 2.0 * input_norm + 2.0);
}

/// All initialisations that need no data, in the order in which tables list them. N(0, s^2) and U
/// have the standard deviation and bound given; "plain" is `plain_draw`, fairseq's.
inline const std::vector<Init>& inits() {
  using detail::layer_number;
  using detail::of_layer;
  using detail::scaled_plain;
  static const std::vector<Init> all{
      {"plain",
       "plain",
       "fairseq's: Xavier uniform, N(0, 1/d) for embeddings",
       [](Role role, const Position&) { return plain_draw(role); }},
      // https://proceedings.mlr.press/v119/huang20f.html
      {"tfixup", "T-Fixup", "by the depth of the stack; without norms", tfixup_draw},
      // https://arxiv.org/abs/2203.00555
      {"deepnet", "DeepNet", "the paper's: Xavier normal, gain beta; with deepnorm", deepnorm_draw},
      // microsoft/torchscale, architecture/encoder.py, decoder.py
      {"deepnet-torchscale",
       "DeepNet (torchscale)",
       "torchscale's: nn.Linear's weights, scaled; with deepnorm",
       [](Role role, const Position& position) {
         return detail::torchscale_draw(role, detail::torchscale_beta(position));
       }},
      // https://arxiv.org/abs/2210.06423
      {"subln", "Sub-LN", "the paper's: Xavier normal, gain gamma; with subln", subln_draw},
      {"subln-torchscale",
       "Sub-LN (torchscale)",
       "torchscale's: nn.Linear's weights, scaled; with subln",
       [](Role role, const Position& position) {
         return detail::torchscale_draw(
             role,
             position.kind == SublayerKind::kCrossAttention ? 1.0 : subln_gamma(position));
       }},
      // https://arxiv.org/abs/1901.09321; hongyi-zhang/Fixup, for Transformers
      {"fixup",
       "Fixup",
       "branches begin at 0, the rest by their number; without norms",
       detail::fixup_draw},
      // https://arxiv.org/abs/1908.11365
      {"ds-init",
       "DS-Init",
       "plain, times 1/sqrt(l) in layer l",
       [](Role role, const Position& position) {
         return of_layer(role) ? scaled_plain(role, 1.0 / std::sqrt(layer_number(position)))
                               : plain_draw(role);
       }},
      // marian-nmt/marian, --transformer-depth-scaling
      {"marian",
       "Marian depth scaling",
       "Xavier uniform, gain 1/sqrt(l) in layer l",
       [](Role role, const Position& position) {
         return of_layer(role) ? Draw::xavier_uniform(1.0 / std::sqrt(layer_number(position)))
                               : plain_draw(role);
       }},
      // https://arxiv.org/abs/2203.00555, its analysis of Post-LN
      {"post-ln-init",
       "Post-LN-init",
       "plain, divided by N - l + 1 in layer l of N",
       [](Role role, const Position& position) {
         if (!of_layer(role)) return plain_draw(role);
         return scaled_plain(role,
                             1.0 / static_cast<double>(position.num_layers() - position.layer));
       }},
      // openai/gpt-2; karpathy/llm.c
      {"gpt2",
       "GPT-2",
       "N(0, .02^2), .02/sqrt(n) for what writes to the stream",
       detail::gpt2_draw},
      // https://arxiv.org/abs/1910.05895
      {"smallinit", "SmallInit", "N(0, 2/(5d)) for d channels", detail::small_init_draw}};
  return all;
}

/// Returns the initialisation of the given name, e.g. `find_init("gpt2")`. Throws c10::ValueError
/// for an unknown name and suggests the nearest one.
inline const Init& find_init(std::string_view name) {
  return detail::find_by_name("find_init", inits(), name);
}

}  // namespace evenkeel
