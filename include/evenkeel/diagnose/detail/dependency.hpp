// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/diagnose/activation_statistics.hpp>
#include <evenkeel/diagnose/detail/sublayer_parts.hpp>
#include <evenkeel/diagnose/detail/sublayer_watch.hpp>

#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::detail {

/// How much each sub-layer of a stack depends on the branches before it:
///
///     x_i = sum_j c_ij,     dependency[i][j] = mean over tokens of std over features of c_ij
///
/// where x_i is what the i-th branch reads (after its input norm) and c_ij what is left in it of
/// the branch j, carried through norms and gains; j = 0 is the stack's input, and the last row is
/// the stack's last output. If the components are independent and x_i is normalised, the squares of
/// a row add up to 1. The last column of row i is j = i.
/// Paper: Liu et al. 2020, https://arxiv.org/abs/2004.08249, figure 3; code: LiyuanLucasLiu/
/// Transformer-Clinic, `plot_variance`, which has it for the encoder.
/// Empty if a sub-layer was not seen, or the stack has a second stream.
inline std::vector<std::vector<double>> dependency_of(const std::vector<WatchedSublayer>& watched,
                                                      const std::vector<SublayerParts>& parts) {
  constexpr int64_t kTokens = 32;  // every component is held for each
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < watched.size(); ++i) {
    const auto& [input, branch, output, entropy, dead, residual] = watched[i];
    if (!parts[i].plain_stream || !input.defined() || !branch.defined() || !output.defined() ||
        input.sizes() != watched[0].input.sizes() || branch.sizes() != input.sizes()) {
      return {};
    }
  }
  if (watched.empty()) return {};
  const auto rows = [&](const torch::Tensor& x) { return token_rows(x, kTokens); };
  const auto deviations = [](const torch::Tensor& c) {
    return c.var(/*dim=*/-1, /*unbiased=*/false).sqrt().mean(1).to(torch::kFloat64);
  };
  std::vector<torch::Tensor> lines;
  auto c = rows(watched[0].input).unsqueeze(0);
  for (size_t i = 0; i < watched.size(); ++i) {
    const auto& part = parts[i];
    const auto x = rows(watched[i].input);
    const auto gain = [&](const torch::Tensor& of, const torch::Tensor& by) {
      return by.defined() ? of * by.detach().to(of.scalar_type()) : of;
    };
    if (i > 0 && part.stream_norm) {
      c = through_norm(c, rows(watched[i - 1].output), *part.stream_norm, part.norm_gain);
    }
    lines.push_back(
        deviations(part.input_norm ? through_norm(c, x, *part.input_norm, part.norm_gain) : c));
    auto f = rows(watched[i].branch);
    if (part.branch_norm) f = through_norm(f.unsqueeze(0), f, *part.branch_norm, part.norm_gain)[0];
    f = gain(f, part.branch_gain);
    c = part.has_shortcut ? gain(c, part.shortcut) : torch::zeros_like(c);
    c = torch::cat({c, f.unsqueeze(0)});
    if (part.sum_norm) {
      const auto s = part.has_shortcut ? gain(x, part.shortcut) + f : f;
      c = through_norm(c, s, *part.sum_norm, part.norm_gain);
    }
  }
  lines.push_back(deviations(c));
  const auto all = torch::cat(lines).to(torch::kCPU);
  const auto values = all.accessor<double, 1>();
  std::vector<std::vector<double>> matrix;
  int64_t at = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    auto& line = matrix.emplace_back();
    for (size_t j = 0; j <= i; ++j) line.push_back(values[at++]);
  }
  return matrix;
}

}  // namespace evenkeel::detail
