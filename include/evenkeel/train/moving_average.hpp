// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

namespace evenkeel::train {

/// The share of the new weights in an exponential moving average at update t, from 1:
///
///     max(decay, 1 - (t + 1) / (t + 10))
///
/// The second is greater at first, so that the average soon forgets the weights with which it
/// began. Source: Marian's --exponential-smoothing.
inline double moving_average_share(int64_t update, double decay) {
  const auto t = static_cast<double>(update);
  return std::max(decay, 1.0 - (t + 1.0) / (t + 10.0));
}

/// Exponential moving averages of parameters, which are often better models than the weights that
/// the last batches left:
///
///     average = average + share * (parameter - average),   share = moving_average_share(t, decay)
///
///     evenkeel::train::ExponentialMovingAverage average(model->parameters(), 1e-4);
///     adam.step();
///     average.update(++updates);
///     {
///       const evenkeel::train::UseAverages averages(average);
///       validate(model);
///     }
///
/// Averages of half types are float32. Updates do not synchronise with a GPU. To resume, copy the
/// saved averages into `averages()`; the run then equals an uninterrupted one bit for bit.
class ExponentialMovingAverage {
 public:
  /// `decay` is in (0, 1); Marian's is 1e-4. The averages begin as the parameters.
  /// Throws c10::Error for another decay.
  ExponentialMovingAverage(std::vector<torch::Tensor> parameters, double decay)
      : parameters_(std::move(parameters)), decay_(decay) {
    TORCH_CHECK(decay > 0.0 && decay < 1.0,
                "ExponentialMovingAverage: expected decay above 0 and below 1, but got ",
                decay);
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : parameters_) {
      const bool wide = parameter.scalar_type() == torch::kFloat64;
      averages_.push_back(parameter.detach().to(wide ? torch::kFloat64 : torch::kFloat32,
                                                /*non_blocking=*/false,
                                                /*copy=*/true));
    }
  }

  /// Takes in the parameters as they are after update `update`, from 1.
  void update(int64_t update) {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> now;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      now.push_back(parameters_[i].detach().to(averages_[i].scalar_type()));
    }
    at::_foreach_lerp_(averages_, now, moving_average_share(update, decay_));
  }

  const std::vector<torch::Tensor>& parameters() const { return parameters_; }

  /// In the order of the parameters.
  const std::vector<torch::Tensor>& averages() const { return averages_; }

 private:
  std::vector<torch::Tensor> parameters_;
  std::vector<torch::Tensor> averages_;
  double decay_;
};

/// While it lives, parameters have the values of their averages. Then they are, bit for bit, what
/// they were.
class UseAverages {
 public:
  explicit UseAverages(const ExponentialMovingAverage& average)
      : parameters_(average.parameters()) {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : parameters_) weights_.push_back(parameter.detach().clone());
    copy(average.averages());
  }
  UseAverages(const UseAverages&) = delete;
  UseAverages& operator=(const UseAverages&) = delete;
  ~UseAverages() {
    try {
      copy(weights_);
    } catch (const std::exception& error) {
      const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
      TORCH_WARN("UseAverages: the weights are not put back: ",
                 of_torch != nullptr ? of_torch->what_without_backtrace() : error.what());
    }
  }

 private:
  void copy(const std::vector<torch::Tensor>& values) {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].copy_(values[i]);
  }

  std::vector<torch::Tensor> parameters_;
  std::vector<torch::Tensor> weights_;
};

}  // namespace evenkeel::train
