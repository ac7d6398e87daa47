// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>
#include <evenkeel/core/position.hpp>
#include <evenkeel/diagnose/activation_statistics.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace evenkeel {

/// What was not measured, as where a model does not have it.
constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// What `diagnose` measures of one residual sub-layer, y = shortcut * x + branch * f(x), which may
/// be normalised. A change is that of the sub-layer's output y,
///
///     E |y / std(y) - y* / std(y*)|^2 / embed_dim,
///
/// 0 if y* is y, and 2 if both are independent. Source: LiyuanLucasLiu/Transformer-Clinic,
/// `plot_stability`, whose square it is, averaged over features.
struct SublayerDiagnosis {
  std::string name;  ///< As its block calls it, e.g. `self_attn`.
  Position position;

  double input_variance = kNotMeasured;   ///< Var[x], over all elements
  double branch_variance = kNotMeasured;  ///< Var[f(x)], before its gain
  double shortcut_gain = 1.0;             ///< Root mean square.
  double branch_gain = 1.0;
  bool norm_at_sum = false;
  bool has_norm = false;  ///< Anywhere: on the stream, the branch's input or output, the sum.
  /// The branch's share of the variance of the sum, in [0, 1]. The sum of all shares is how far an
  /// update moves the output of a stack with norms at the sums (Liu et al. 2020, theorem 2).
  double share = kNotMeasured;
  ActivationStatistics output;          ///< Of y.
  double output_change = kNotMeasured;  ///< All matrices moved by +-magnitude.
  double step_change = kNotMeasured;    ///< After one update at the learning rate.
  /// Of y, after all updates that were tried.
  double trial_token_correlation = kNotMeasured;
  /// Norm of the loss's gradient by y; by f(x) where y is not a tensor of the model. Source:
  /// Transformer-Clinic, `plot_gradient`.
  double gradient_norm = kNotMeasured;
  std::vector<double> attention_entropy;  ///< Of each head, in nats; empty if there is none.
  double dead_units = kNotMeasured;       ///< Share of ReLU units that are 0 for every token.
};

/// What `diagnose` measures of one matrix, or of the rows of it that share a role.
struct MatrixDiagnosis {
  std::string name;  ///< Registered name.
  Role role = Role::kUnscaled;
  Stack stack = Stack::kEncoder;
  int64_t layer = -1;                   ///< In its stack; -1 if it is in none.
  bool cross = false;                   ///< Whether it is part of cross-attention.
  double rms = kNotMeasured;            ///< Of its weights.
  double gradient_norm = kNotMeasured;  ///< |dL/dW|
  double update_ratio = kNotMeasured;   ///< |W' - W| / |W| of one update at the learning rate.
};

/// A gain, or the weight or bias of a norm.
struct GainDiagnosis {
  std::string name;
  double mean = kNotMeasured;
  double smallest = kNotMeasured;
  double largest = kNotMeasured;
};

/// One of the updates that are tried, all on the same batch.
struct TrialStep {
  double learning_rate = 0.0;  ///< Of the update that follows; 0 for the last, which has none.
  double loss = kNotMeasured;
  double gradient_norm = kNotMeasured;  ///< Of all parameters, before clipping.
  /// Mean cosine of the last sub-layer's output at two tokens: 1 if all tokens look alike.
  double token_correlation = kNotMeasured;
};

/// How the output changes in one stack.
struct StackDiagnosis {
  Stack stack = Stack::kEncoder;
  int64_t num_res_layers = 0;
  double sum_of_shares = kNotMeasured;  ///< Over its sub-layers, with norms at all sums.
  double output_change = kNotMeasured;  ///< Of its last sub-layer.
  double step_change = kNotMeasured;
  /// The output change of the same stack with all gains 1, as Post-LN has them; not measured in a
  /// model that is not Post-LN with gains.
  double as_post_norm = kNotMeasured;
  /// [i][j] is how much of branch j there is in what branch i reads, see docs/doctor.md; empty if
  /// it was not measured.
  std::vector<std::vector<double>> dependency;
};

}  // namespace evenkeel
