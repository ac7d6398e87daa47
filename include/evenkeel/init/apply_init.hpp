// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/init/init_report.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

namespace evenkeel {

/// What an init starts from.
enum class InitBase {
  kXavier,  ///< Every matrix, bias and embedding is drawn afresh, as fairseq draws them.
  kPresent  ///< The weights stay as they are.
};

namespace detail {

inline bool is_projection(Role role) {
  return role == Role::kQuery || role == Role::kKey || role == Role::kValue;
}

inline bool is_matrix(Role role) {
  return is_projection(role) || role == Role::kAttentionOutput || role == Role::kFeedForwardIn ||
         role == Role::kFeedForwardOut;
}

/// Gain 1 / sqrt(2) of a packed in_proj_weight: Xavier's rule sees a (3d, d) matrix.
inline constexpr double kPackedGain = 0.70710678118654752440;

/// fairseq's draw: Xavier uniform, query, key and value with gain 1/sqrt(2); biases 0; embeddings
/// and head N(0, 1/d), rows that are 0, such as a padding token's, left at 0.
inline void draw(const ParameterRole& parameter) {
  auto rows = parameter.rows();
  if (is_matrix(parameter.role)) {
    const double gain = is_projection(parameter.role) ? kPackedGain : 1.0;
    const auto fans = static_cast<double>(rows.size(0) + rows.size(1));
    const double bound = gain * std::sqrt(6.0 / fans);
    rows.uniform_(-bound, bound);
  } else if (parameter.role == Role::kEmbedding || parameter.role == Role::kHead) {
    const auto kept = rows.ne(0).any(/*dim=*/1, /*keepdim=*/true);
    rows.normal_(0.0, 1.0 / std::sqrt(static_cast<double>(rows.size(1)))).mul_(kept);
  } else if (parameter.role == Role::kBias) {
    rows.zero_();
  }
}

}  // namespace detail

/// Draws the weights of a model if `base` says so, and multiplies each by `factor(role, position)`,
/// the factor on a matrix at Xavier's gain 1. A value projection at gain 1/sqrt(2), which a packed
/// one has and every drawn one, gets sqrt(2) more. Norms and gains are left as they are.
/// Nothing is changed if a parameter is not of floating point or has not two dimensions.
template <typename Factor>
InitReport apply_init(const Anatomy& anatomy, InitBase base, Factor&& factor) {
  const torch::NoGradGuard no_grad;
  std::vector<InitReportRow> report;
  for (const auto& parameter : anatomy.parameters) {
    const bool matrix = detail::is_matrix(parameter.role) || parameter.role == Role::kEmbedding ||
                        parameter.role == Role::kHead;
    TORCH_CHECK(!matrix || parameter.tensor.dim() == 2,
                "init: expected ",
                parameter.name,
                " of two dimensions, as a matrix of role ",
                evenkeel::to_string(parameter.role),
                " has, but got shape ",
                parameter.tensor.sizes());
    TORCH_CHECK(parameter.tensor.is_floating_point(),
                "init: expected ",
                parameter.name,
                " of floating point, but got ",
                parameter.tensor.scalar_type());
    double by = matrix ? factor(parameter.role, anatomy.position(parameter)) : 1.0;
    if (parameter.role == Role::kValue && (parameter.packed() || base == InitBase::kXavier) &&
        by != 1.0) {
      by /= detail::kPackedGain;
    }
    auto name = parameter.name;
    if (parameter.packed()) {
      name += fmt::format("[{}:{}]", parameter.row_begin, parameter.row_end);
    }
    report.push_back({std::move(name), parameter.role, parameter.rows().sizes().vec(), by});
  }
  for (size_t i = 0; i < report.size(); ++i) {
    const auto& parameter = anatomy.parameters[i];
    if (base == InitBase::kXavier) detail::draw(parameter);
    if (report[i].factor != 1.0) parameter.rows().mul_(report[i].factor);
  }
  return InitReport(std::move(report));
}

}  // namespace evenkeel
