// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/core/draw.hpp>
#include <evenkeel/init/init_report.hpp>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

namespace evenkeel {

namespace detail {

/// Initialises `values`: a matrix or a part of one, of shape (fan_out, fan_in), or any tensor if
/// the draw does not depend on fans.
inline void draw(const torch::Tensor& values, const Draw& draw) {
  const auto fans = [&] { return static_cast<double>(values.size(0) + values.size(1)); };
  switch (draw.distribution) {
    case Distribution::kXavierUniform: {
      const double bound = draw.gain * std::sqrt(6.0 / fans());
      values.uniform_(-bound, bound);
      break;
    }
    case Distribution::kXavierNormal:
      values.normal_(0.0, draw.gain * std::sqrt(2.0 / fans()));
      break;
    case Distribution::kFanInNormal:
      values.normal_(0.0, draw.gain / std::sqrt(static_cast<double>(values.size(1))));
      break;
    case Distribution::kFanInUniform: {
      const double bound = draw.gain / std::sqrt(static_cast<double>(values.size(1)));
      values.uniform_(-bound, bound);
      break;
    }
    case Distribution::kFanOutNormal:
      values.normal_(0.0, draw.gain / std::sqrt(static_cast<double>(values.size(0))));
      break;
    case Distribution::kNormal:
      values.normal_(0.0, draw.gain);
      break;
    case Distribution::kUniform:
      values.uniform_(-draw.gain, draw.gain);
      break;
    case Distribution::kZero:
      values.zero_();
      break;
    case Distribution::kKeep:
      if (draw.gain != 1.0) values.mul_(draw.gain);
      break;
  }
}

/// The same for an embedding: rows that are 0, such as the padding token's, stay 0, unless all rows
/// are 0.
inline void draw_embedding(const torch::Tensor& values, const Draw& how) {
  const auto kept = values.ne(0).any(/*dim=*/1, /*keepdim=*/true);
  const bool all_zero = !kept.any().item<bool>();
  draw(values, how);
  if (!all_zero) values.mul_(kept);
}

}  // namespace detail

/// Returns the draw of a parameter at a position.
using DrawOfParameter = std::function<Draw(const ParameterRole&, const Position&)>;
/// Returns the draw of a parameter of a role at a position, as `Scheme::draw` does.
using DrawOf = std::function<Draw(Role, const Position&)>;

/// Initialises the parameters of a model with the draws that `draw_of` returns, each once, and
/// reports the draw of every parameter. A matrix with `kKeep` keeps its bias too, and one that its
/// block sets (`SublayerBuilder::kept`) keeps its values. Frozen parameters are initialised like
/// others. Rows of an embedding or of a table of positions that are 0, such as
/// the padding token's, stay 0. A table of positions may have any shape (*, embed_dim). Throws, and
/// changes nothing, if a parameter does not have a floating-point type, or is not a matrix although
/// its draw depends on fans.
inline InitReport apply_init(const Anatomy& anatomy, const DrawOfParameter& draw_of) {
  const torch::NoGradGuard no_grad;
  const auto draw_or_keep = [&](const ParameterRole& parameter) {
    return parameter.kept ? Draw::keep() : draw_of(parameter, anatomy.position(parameter));
  };
  std::vector<InitReportRow> report;
  for (const auto& parameter : anatomy.parameters) {
    auto how = draw_or_keep(parameter);
    if (parameter.role == Role::kBias && parameter.matrix >= 0) {
      const auto& matrix = anatomy.parameters[static_cast<size_t>(parameter.matrix)];
      const auto of_matrix = draw_or_keep(matrix);
      if (of_matrix.distribution == Distribution::kKeep) {
        how = Draw::keep(of_matrix.scales_bias ? of_matrix.gain : 1.0);
      }
    }
    const bool table = parameter.role == Role::kPosition && parameter.tensor.dim() >= 2;
    TORCH_CHECK(!detail::reads_fans(how.distribution) || parameter.tensor.dim() == 2 || table,
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
    auto name = parameter.name;
    if (parameter.packed()) {
      name += fmt::format("[{}:{}]", parameter.row_begin, parameter.row_end);
    }
    report.push_back(
        {std::move(name), parameter.role, parameter.rows().sizes().vec(), how, parameter.by_name});
  }
  for (size_t i = 0; i < report.size(); ++i) {
    const auto& parameter = anatomy.parameters[i];
    auto values = parameter.rows();
    if (parameter.role == Role::kPosition && values.dim() > 2) {
      values = values.view({-1, values.size(-1)});
    }
    const bool table = parameter.role == Role::kEmbedding || parameter.role == Role::kPosition;
    (table && values.dim() == 2 ? detail::draw_embedding : detail::draw)(values, report[i].draw);
  }
  return InitReport(std::move(report));
}

/// The same for a draw that depends only on role and position, such as a scheme's:
///
///     apply_init(anatomy_of<MyBlock>(model), find_scheme("tfixup").draw);
inline InitReport apply_init(const Anatomy& anatomy, const DrawOf& draw_of) {
  return apply_init(anatomy, [&](const ParameterRole& parameter, const Position& position) {
    return draw_of(parameter.role, position);
  });
}

}  // namespace evenkeel
