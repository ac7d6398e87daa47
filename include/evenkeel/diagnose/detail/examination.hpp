// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/diagnose/activation_statistics.hpp>
#include <evenkeel/diagnose/detail/dependency.hpp>
#include <evenkeel/diagnose/detail/numbers.hpp>
#include <evenkeel/diagnose/detail/sublayer_parts.hpp>
#include <evenkeel/diagnose/detail/sublayer_watch.hpp>
#include <evenkeel/diagnose/diagnosis_parts.hpp>

#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

/// What one forward and backward pass shows.
namespace evenkeel::detail {

/// The rows of a tensor, such as a gradient, that are those of a parameter's entry.
inline torch::Tensor rows_of(const ParameterRole& entry, const torch::Tensor& tensor) {
  return entry.packed() ? tensor.narrow(0, entry.row_begin, entry.row_end - entry.row_begin)
                        : tensor;
}

/// The entries of matrices, in the order of `Diagnosis::matrices`.
inline std::vector<const ParameterRole*> matrix_entries(const Anatomy& anatomy) {
  std::vector<const ParameterRole*> entries;
  for (const auto& entry : anatomy.parameters) {
    if (entry.tensor.dim() >= 2 && entry.tensor.numel() > 0) entries.push_back(&entry);
  }
  return entries;
}

/// `gradients` are those of the loss by the outputs or branches; undefined ones are left out. Of
/// each output at most `tokens` tokens are looked at.
inline std::vector<SublayerDiagnosis> sublayers_of(const Anatomy& anatomy,
                                                   const std::vector<WatchedSublayer>& watched,
                                                   const std::vector<SublayerParts>& parts,
                                                   const std::vector<torch::Tensor>& gradients,
                                                   int64_t tokens) {
  const auto variance = [](const torch::Tensor& x) {
    return x.defined() ? x.detach().to(torch::kFloat32).var(/*unbiased=*/false) : x;
  };
  const auto rms = [](const torch::Tensor& gain) {
    return gain.defined() ? gain.detach().to(torch::kFloat64).square().mean().sqrt() : gain;
  };
  std::vector<SublayerDiagnosis> rows(watched.size());
  std::vector<torch::Tensor> statistics(watched.size());
  Numbers numbers;
  for (size_t i = 0; i < watched.size(); ++i) {
    auto& row = rows[i];
    const auto& sublayer = anatomy.sublayers[i];
    row.name = sublayer.name;
    row.position = anatomy.position(sublayer);
    row.norm_at_sum = parts[i].sum_norm != nullptr;
    row.has_norm = row.norm_at_sum || parts[i].stream_norm || parts[i].input_norm ||
                   parts[i].branch_norm || !sublayer.norms.empty();
    if (!parts[i].has_shortcut) row.shortcut_gain = 0.0;
    numbers.fetch_into(row.input_variance, variance(watched[i].input));
    numbers.fetch_into(row.branch_variance, variance(watched[i].branch));
    numbers.fetch_into(row.shortcut_gain, rms(parts[i].shortcut));
    numbers.fetch_into(row.branch_gain, rms(parts[i].branch_gain));
    if (gradients[i].defined()) numbers.fetch_into(row.gradient_norm, gradients[i].norm());
    numbers.fetch_into(row.dead_units, watched[i].dead_units);
    if (watched[i].output.defined()) {
      statistics[i] = statistics_tensor(token_rows(watched[i].output, tokens));
    }
  }
  numbers.fetch();
  for (size_t i = 0; i < watched.size(); ++i) {
    auto& row = rows[i];
    if (statistics[i].defined()) row.output = statistics_from(statistics[i].to(torch::kCPU));
    if (watched[i].entropy.defined()) {
      const auto heads = watched[i].entropy.to(torch::kCPU, torch::kFloat64).contiguous();
      const auto* values = heads.data_ptr<double>();
      row.attention_entropy.assign(values, values + heads.numel());
    }
    const double shortcut = row.shortcut_gain * row.shortcut_gain * row.input_variance;
    // a norm of the branch leaves it a variance of 1
    const double branch_variance = parts[i].branch_norm ? 1.0 : row.branch_variance;
    const double branch = row.branch_gain * row.branch_gain * branch_variance;
    if (!std::isfinite(shortcut + branch)) continue;
    row.share = shortcut + branch > 0.0 ? branch / (shortcut + branch) : 0.0;
  }
  return rows;
}

inline std::vector<StackDiagnosis> stacks_of(const std::vector<WatchedSublayer>& watched,
                                             const std::vector<SublayerParts>& parts,
                                             const std::vector<SublayerDiagnosis>& rows) {
  std::vector<StackDiagnosis> stacks;
  for (const auto stack : {Stack::kEncoder, Stack::kDecoder}) {
    std::vector<WatchedSublayer> of_stack;
    std::vector<SublayerParts> its_parts;
    bool normed = true;
    double shares = 0.0;
    for (size_t i = 0; i < watched.size(); ++i) {
      if (rows[i].position.stack != stack) continue;
      of_stack.push_back(watched[i]);
      its_parts.push_back(parts[i]);
      normed = normed && rows[i].norm_at_sum;
      shares += rows[i].share;
    }
    if (of_stack.empty()) continue;
    auto& found = stacks.emplace_back();
    found.stack = stack;
    found.num_res_layers = static_cast<int64_t>(of_stack.size());
    if (normed) found.sum_of_shares = shares;
    found.dependency = dependency_of(of_stack, its_parts);
  }
  return stacks;
}

/// `gradients` are those of the loss, by parameter.
inline std::vector<MatrixDiagnosis> matrices_of(
    const Anatomy& anatomy, const std::unordered_map<const void*, torch::Tensor>& gradients) {
  const auto entries = matrix_entries(anatomy);
  std::vector<MatrixDiagnosis> matrices(entries.size());
  Numbers numbers;
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& entry = *entries[i];
    auto& matrix = matrices[i];
    matrix.name = entry.name;
    matrix.role = entry.role;
    matrix.stack = entry.stack;
    if (const auto* sublayer = anatomy.sublayer_of(entry)) {
      matrix.layer = sublayer->layer;
      matrix.cross = sublayer->kind == SublayerKind::kCrossAttention;
    }
    numbers.fetch_into(matrix.rms, entry.rows().to(torch::kFloat32).square().mean().sqrt());
    const auto by = gradients.find(entry.tensor.unsafeGetTensorImpl());
    if (by == gradients.end() || !by->second.defined()) continue;
    numbers.fetch_into(matrix.gradient_norm, rows_of(entry, by->second).norm());
  }
  numbers.fetch();
  return matrices;
}

inline std::vector<GainDiagnosis> gains_of(const Anatomy& anatomy) {
  std::vector<const ParameterRole*> entries;
  for (const auto& entry : anatomy.parameters) {
    const bool scales = entry.role == Role::kGain || entry.role == Role::kNorm;
    if (scales && entry.tensor.numel() > 0) entries.push_back(&entry);
  }
  std::vector<GainDiagnosis> gains(entries.size());
  Numbers numbers;
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto values = entries[i]->rows().to(torch::kFloat32);
    gains[i].name = entries[i]->name;
    numbers.fetch_into(gains[i].mean, values.mean());
    numbers.fetch_into(gains[i].smallest, values.min());
    numbers.fetch_into(gains[i].largest, values.max());
  }
  numbers.fetch();
  return gains;
}

}  // namespace evenkeel::detail
