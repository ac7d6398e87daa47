// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/anatomy/anatomy.hpp>
#include <evenkeel/diagnose/activation_statistics.hpp>
#include <evenkeel/diagnose/detail/examination.hpp>
#include <evenkeel/diagnose/detail/moved_weights.hpp>
#include <evenkeel/diagnose/detail/numbers.hpp>
#include <evenkeel/diagnose/detail/perturb.hpp>
#include <evenkeel/diagnose/detail/restore_guard.hpp>
#include <evenkeel/diagnose/detail/sublayer_parts.hpp>
#include <evenkeel/diagnose/detail/sublayer_watch.hpp>
#include <evenkeel/diagnose/detail/trial_adam.hpp>
#include <evenkeel/diagnose/diagnosis.hpp>

#include <c10/util/Exception.h>
#include <torch/autograd.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace evenkeel::detail {

/// Measures a model for `diagnose`, which says what.
class Doctor {
 public:
  using Loss = std::function<torch::Tensor()>;

  Doctor(torch::nn::Module& model,
         const Anatomy& anatomy,
         Loss loss,
         const DiagnoseOptions& options)
      : model_(model),
        anatomy_(anatomy),
        loss_(std::move(loss)),
        moves_(OutputChangeOptions().magnitude(options.magnitude())),
        weights_(moved_weights(model, moves_)) {
    found_.options = options;
    for (const auto& parameter : model.parameters()) {
      if (parameter.requires_grad()) parameters_.push_back(parameter);
    }
    TORCH_CHECK(!parameters_.empty(),
                "diagnose: expected a model with parameters that require a gradient, but ",
                model.name(),
                " has none");
    TORCH_CHECK(!anatomy.sublayers.empty(),
                "diagnose: expected a model with residual sub-layers, but the anatomy of ",
                model.name(),
                " has none");
  }

  /// A pass as it is, one with moved weights, two as Post-LN, one after an update at the highest
  /// rate, and one after each update that is tried: with 7 of these 12 calls of the loss, of which
  /// 7 have a backward pass.
  Diagnosis run() {
    RestoreGuard guard(model_, "diagnose");
    begin(guard);
    const auto gradients = look();
    move(guard);
    as_post_norm(guard);
    update(guard, gradients);
    try_updates(guard, gradients);
    guard.restore();
    return std::move(found_);
  }

 private:
  static constexpr int64_t kTokens = 512;      // of a batch that are looked at
  using Outputs = std::vector<torch::Tensor>;  // rows (tokens, embed_dim) of each sub-layer's y

  /// The model as it was, ready for a pass.
  void begin(RestoreGuard& guard) {
    guard.restore_tensors();
    guard.restore_generators();
    model_.eval();
  }

  torch::Tensor checked_loss() {
    auto loss = loss_();
    TORCH_CHECK(loss.defined() && loss.numel() == 1 && loss.is_floating_point(),
                "diagnose: expected the loss to be a floating-point scalar, but got ",
                loss.defined() ? loss.sizes() : torch::IntArrayRef());
    return loss;
  }

  static torch::Tensor normalised_rows(const torch::Tensor& output) {
    if (!output.defined()) return {};
    const auto rows = token_rows(output, kTokens);
    return rows / rows.std(/*unbiased=*/false).clamp_min(1e-30);
  }

  static Outputs outputs_of(const std::vector<WatchedSublayer>& watched) {
    const torch::NoGradGuard no_grad;
    Outputs outputs;
    for (const auto& sublayer : watched) outputs.push_back(normalised_rows(sublayer.output));
    return outputs;
  }

  /// Outputs of a pass without autograd.
  Outputs forward() {
    const torch::NoGradGuard no_grad;
    SublayerWatch watch(anatomy_, /*details=*/false);
    watch.run([&] { return checked_loss(); });
    return outputs_of(watch.finish());
  }

  /// The gradients of the loss by all parameters, then by `more`; undefined where it does not
  /// depend on them.
  std::vector<torch::Tensor> gradients_of(const torch::Tensor& loss, const Outputs& more = {}) {
    TORCH_CHECK(loss.requires_grad(),
                "diagnose: expected a loss that depends on the model's parameters, but got one "
                "without a gradient");
    auto by = parameters_;
    by.insert(by.end(), more.begin(), more.end());
    return torch::autograd::grad({loss},
                                 by,
                                 /*grad_outputs=*/{},
                                 /*retain_graph=*/std::nullopt,
                                 /*create_graph=*/false,
                                 /*allow_unused=*/true);
  }

  /// Everything that one forward and backward pass shows. Returns the gradients of the parameters.
  std::vector<torch::Tensor> look() {
    const torch::AutoGradMode enable(true);
    SublayerWatch watch(anatomy_, /*details=*/true);
    const auto loss = watch.run([&] { return checked_loss(); });
    const auto watched = watch.finish();
    std::vector<SublayerParts> parts;
    Outputs differentiated;  // y and f of each sub-layer, as far as they have a graph
    std::vector<std::optional<size_t>> of_output, of_branch;
    const auto differentiate = [&](const torch::Tensor& x) -> std::optional<size_t> {
      if (!x.defined() || !x.requires_grad()) return std::nullopt;
      differentiated.push_back(x);
      return parameters_.size() + differentiated.size() - 1;
    };
    for (size_t i = 0; i < watched.size(); ++i) {
      parts.push_back(parts_of(anatomy_.sublayers[i], watched[i].residual));
      of_output.push_back(differentiate(watched[i].output));
      of_branch.push_back(differentiate(watched[i].branch));
    }
    auto gradients = gradients_of(loss, differentiated);
    const torch::NoGradGuard no_grad;
    before_ = outputs_of(watched);
    std::vector<torch::Tensor> by_sublayer;
    for (size_t i = 0; i < watched.size(); ++i) {
      auto by = of_output[i] ? gradients[*of_output[i]] : torch::Tensor();
      if (!by.defined() && of_branch[i]) by = gradients[*of_branch[i]];
      by_sublayer.push_back(by);
    }
    found_.sublayers = sublayers_of(anatomy_, watched, parts, by_sublayer, kTokens);
    found_.stacks = stacks_of(watched, parts, found_.sublayers);
    std::unordered_map<const void*, torch::Tensor> by_parameter;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      by_parameter.emplace(parameters_[i].unsafeGetTensorImpl(), gradients[i]);
    }
    found_.matrices = matrices_of(anatomy_, by_parameter);
    found_.gains = gains_of(anatomy_);
    gradients.resize(parameters_.size());
    found_.trial.push_back({0.0,
                            loss.item<double>(),
                            TrialAdam::norm_of(gradients),
                            found_.sublayers.back().output.token_correlation});
    return gradients;
  }

  static torch::Tensor change(const torch::Tensor& before, const torch::Tensor& after) {
    if (!before.defined() || !after.defined()) return {};
    TORCH_CHECK(before.sizes() == after.sizes(),
                "diagnose: expected the loss to run the same batch every time, but a sub-layer's "
                "output of shape ",
                before.sizes(),
                " is now of shape ",
                after.sizes());
    return (before - after).square().mean();
  }

  /// Fills a member of every sub-layer and, from its last, of every stack.
  void fill_changes(double SublayerDiagnosis::*of_sublayer,
                    double StackDiagnosis::*of_stack,
                    const Outputs& before,
                    const Outputs& after) {
    std::vector<double> changes(before.size(), kNotMeasured);
    Numbers numbers;
    for (size_t i = 0; i < before.size(); ++i) {
      numbers.fetch_into(changes[i], change(before[i], after[i]));
    }
    numbers.fetch();
    for (size_t i = 0; i < changes.size(); ++i) {
      auto& row = found_.sublayers[i];
      if (of_sublayer != nullptr) row.*of_sublayer = changes[i];
      for (auto& stack : found_.stacks) {
        if (stack.stack == row.position.stack) stack.*of_stack = changes[i];
      }
    }
  }

  void move(RestoreGuard& guard) {
    begin(guard);
    move_by_chance(weights_, moves_, /*trial=*/0);
    fill_changes(&SublayerDiagnosis::output_change,
                 &StackDiagnosis::output_change,
                 before_,
                 forward());
  }

  /// The same stack with all gains 1, if it is Post-LN with others.
  void as_post_norm(RestoreGuard& guard) {
    bool has_gains = false;
    for (size_t i = 0; i < found_.sublayers.size(); ++i) {
      const auto& row = found_.sublayers[i];
      if (!row.norm_at_sum) return;
      for (const auto& norm : anatomy_.sublayers[i].norms) {
        if (norm.slot && norm.slot != NormSlot::kSum) return;
      }
      has_gains = has_gains || row.shortcut_gain != 1.0 || row.branch_gain != 1.0;
    }
    if (!has_gains) return;
    const auto plain = [&] {
      const torch::NoGradGuard no_grad;
      for (const auto& sublayer : anatomy_.sublayers) {
        for (const auto& gain : sublayer.gains) {
          if (gain.slot == GainSlot::kShortcut || gain.slot == GainSlot::kBranch) {
            gain.tensor.detach().fill_(1.0);
          }
        }
      }
    };
    begin(guard);
    plain();
    const auto before = forward();
    begin(guard);
    plain();
    move_by_chance(weights_, moves_, /*trial=*/0);
    plain();
    fill_changes(nullptr, &StackDiagnosis::as_post_norm, before, forward());
  }

  /// One update at the highest learning rate, without warm-up.
  void update(RestoreGuard& guard, const std::vector<torch::Tensor>& gradients) {
    begin(guard);
    const torch::NoGradGuard no_grad;
    const auto entries = matrix_entries(anatomy_);
    std::vector<torch::Tensor> weights;
    weights.reserve(entries.size());
    for (const auto* entry : entries) weights.push_back(entry->rows().clone());
    TrialAdam(parameters_, found_.options)
        .step(gradients, found_.trial.front().gradient_norm, found_.options.learning_rate());
    Numbers numbers;
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto ratio = (entries[i]->rows() - weights[i]).norm() / weights[i].norm();
      numbers.fetch_into(found_.matrices[i].update_ratio, ratio);
    }
    numbers.fetch();
    fill_changes(&SublayerDiagnosis::step_change, &StackDiagnosis::step_change, before_, forward());
  }

  /// The learning rate of an update that is tried, from 1: a warm-up is run through in them.
  double rate_of(int64_t step) const {
    const auto& options = found_.options;
    const auto ramp = std::min(options.warmup_steps() + 1, options.trial_steps());
    const double share = static_cast<double>(step) / static_cast<double>(ramp);
    return options.learning_rate() * std::min(1.0, share);
  }

  void try_updates(RestoreGuard& guard, std::vector<torch::Tensor> gradients) {
    begin(guard);
    TrialAdam adam(parameters_, found_.options);
    for (int64_t step = 1; step <= found_.options.trial_steps() && !gradients.empty(); ++step) {
      auto& now = found_.trial.back();
      now.learning_rate = rate_of(step);
      adam.step(gradients, now.gradient_norm, now.learning_rate);
      gradients = after_update(step == found_.options.trial_steps());
    }
  }

  /// Looks at the model after an update. Returns the gradients for the next one, unless there is
  /// none.
  std::vector<torch::Tensor> after_update(bool last) {
    const torch::AutoGradMode enable(!last);
    SublayerWatch watch(anatomy_, /*details=*/false);
    const auto loss = watch.run([&] { return checked_loss(); });
    const auto watched = watch.finish();
    auto& step = found_.trial.emplace_back();
    step.loss = loss.item<double>();
    const bool ends = last || !std::isfinite(step.loss);
    Numbers numbers;
    for (size_t i = ends ? 0 : watched.size() - 1; i < watched.size(); ++i) {
      if (!watched[i].output.defined()) continue;
      numbers.fetch_into(found_.sublayers[i].trial_token_correlation,
                         token_correlation(token_rows(watched[i].output, kTokens)));
    }
    numbers.fetch();
    step.token_correlation = found_.sublayers.back().trial_token_correlation;
    if (ends) return {};
    auto gradients = gradients_of(loss);
    step.gradient_norm = TrialAdam::norm_of(gradients);
    return gradients;
  }

  torch::nn::Module& model_;
  const Anatomy& anatomy_;
  Loss loss_;
  OutputChangeOptions moves_;
  std::vector<MovedWeight> weights_;
  std::vector<torch::Tensor> parameters_;  // those that are trained, each once
  Outputs before_;                         // of the model as it is
  Diagnosis found_;
};

}  // namespace evenkeel::detail
