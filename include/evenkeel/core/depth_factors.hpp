// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/draw.hpp>
#include <evenkeel/core/error.hpp>
#include <evenkeel/core/position.hpp>

#include <cmath>
#include <cstdint>

namespace evenkeel {

namespace detail {

inline double layers(const char* function, const char* name, int64_t value) {
  require(value >= 1, function, ": expected ", name, " >= 1, but got ", value);
  return static_cast<double>(value);
}

}  // namespace detail

/// T-Fixup's factor on the encoder's value, attention output and feed-forward matrices,
/// .67 N^(-1/4) for N = `encoder_layers`. Paper: Huang et al., ICML 2020.
inline double tfixup_encoder_factor(int64_t encoder_layers) {
  return 0.67 *
         std::pow(detail::layers("tfixup_encoder_factor", "encoder_layers", encoder_layers), -0.25);
}

/// T-Fixup's factor on the decoder's value, attention output and feed-forward matrices,
/// (9M)^(-1/4) for M = `decoder_layers`.
inline double tfixup_decoder_factor(int64_t decoder_layers) {
  return std::pow(9.0 * detail::layers("tfixup_decoder_factor", "decoder_layers", decoder_layers),
                  -0.25);
}

/// T-Fixup's factor on an embedding, (9N)^(-1/4) for N = `num_layers` of the stack that reads it; a
/// shared embedding counts as the encoder's, as in layer6ai-labs/T-Fixup.
inline double tfixup_embedding_factor(int64_t num_layers) {
  return std::pow(9.0 * detail::layers("tfixup_embedding_factor", "num_layers", num_layers), -0.25);
}

/// T-Fixup's initialisation of a parameter of the given role: the factors above are the gains of
/// token embedding, value, attention output and feed-forward matrices; all other roles are as in
/// `plain_draw`, learned positions too: the published models have sinusoidal ones, not scaled.
inline Draw tfixup_draw(Role role, const Position& position) {
  const bool encoder = position.stack == Stack::kEncoder;
  if (role == Role::kEmbedding) {
    return Draw::fan_in_normal(
        tfixup_embedding_factor(encoder ? position.encoder_layers : position.decoder_layers));
  }
  if (!detail::scales_branch(role)) return plain_draw(role);
  return Draw::xavier_uniform(encoder ? tfixup_encoder_factor(position.encoder_layers)
                                      : tfixup_decoder_factor(position.decoder_layers));
}

/// DeepNorm's two constants for one stack: y = LN(alpha * x + f(x)), and the gain `beta` of the
/// Xavier-normal value, output and feed-forward matrices.
struct DeepNormFactors {
  double alpha;
  double beta;
};

/// The encoder of an encoder-decoder, alpha = .81 (N^4 M)^(1/16), beta = .87 (N^4 M)^(-1/16).
/// Paper: Wang et al. 2022, https://arxiv.org/abs/2203.00555, Fig. 2.
inline DeepNormFactors deepnorm_encoder_factors(int64_t encoder_layers, int64_t decoder_layers) {
  const double n = detail::layers("deepnorm_encoder_factors", "encoder_layers", encoder_layers);
  const double m = detail::layers("deepnorm_encoder_factors", "decoder_layers", decoder_layers);
  const double root = std::pow(std::pow(n, 4.0) * m, 1.0 / 16.0);
  return {0.81 * root, 0.87 / root};
}

/// The decoder of an encoder-decoder, alpha = (3M)^(1/4), beta = (12M)^(-1/4).
inline DeepNormFactors deepnorm_decoder_factors(int64_t decoder_layers) {
  const double m = detail::layers("deepnorm_decoder_factors", "decoder_layers", decoder_layers);
  return {std::pow(3.0 * m, 0.25), std::pow(12.0 * m, -0.25)};
}

/// An encoder-only or decoder-only model, alpha = (2N)^(1/4), beta = (8N)^(-1/4).
inline DeepNormFactors deepnorm_single_stack_factors(int64_t num_layers) {
  const double n = detail::layers("deepnorm_single_stack_factors", "num_layers", num_layers);
  return {std::pow(2.0 * n, 0.25), std::pow(8.0 * n, -0.25)};
}

/// DeepNorm's constants of the stack that a position is in: those of an encoder-decoder if the
/// model has both stacks, otherwise those of a single stack. Throws std::invalid_argument if the
/// position lacks a depth.
inline DeepNormFactors deepnorm_factors(const Position& position) {
  const int64_t encoder_layers = position.encoder_layers;
  const int64_t decoder_layers = position.decoder_layers;
  if (encoder_layers == 0 || decoder_layers == 0) {
    return deepnorm_single_stack_factors(encoder_layers + decoder_layers);
  }
  return position.stack == Stack::kEncoder
             ? deepnorm_encoder_factors(encoder_layers, decoder_layers)
             : deepnorm_decoder_factors(decoder_layers);
}

/// DeepNorm's initialisation of a parameter of the given role: Xavier normal, with gain beta for
/// value, attention output and feed-forward matrices.
inline Draw deepnorm_draw(Role role, const Position& position) {
  if (!detail::of_layer(role)) return plain_draw(role);
  return Draw::xavier_normal(detail::scales_branch(role) ? deepnorm_factors(position).beta : 1.0);
}

/// Sub-LN's gain of value, attention output and feed-forward matrices: sqrt(ln(2N)) in a model with
/// one stack of N layers; with M decoder layers, sqrt(ln(3M)) in the decoder and
/// sqrt(ln(3M) ln(2N) / 3) in the encoder. Paper: Wang et al. 2022,
/// https://arxiv.org/abs/2210.06423. Throws std::invalid_argument if the position lacks a depth.
inline double subln_gamma(const Position& position) {
  const int64_t encoder_layers = position.encoder_layers;
  const int64_t decoder_layers = position.decoder_layers;
  const auto log_of = [](int64_t sublayers) { return std::log(static_cast<double>(sublayers)); };
  if (encoder_layers == 0 || decoder_layers == 0) {
    return std::sqrt(log_of(2 * (encoder_layers + decoder_layers)));
  }
  const double of_decoder = log_of(3 * decoder_layers);
  return std::sqrt(position.stack == Stack::kDecoder
                       ? of_decoder
                       : of_decoder * log_of(2 * encoder_layers) / 3.0);
}

/// Sub-LN's initialisation of a parameter of the given role: Xavier normal, with gain gamma for
/// value, attention output and feed-forward matrices, except those of cross-attention.
inline Draw subln_draw(Role role, const Position& position) {
  if (!detail::of_layer(role)) return plain_draw(role);
  const bool scaled = detail::scales_branch(role) && position.kind != SublayerKind::kCrossAttention;
  return Draw::xavier_normal(scaled ? subln_gamma(position) : 1.0);
}

}  // namespace evenkeel
