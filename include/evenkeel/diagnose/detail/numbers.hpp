// SPDX-License-Identifier: MIT
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::detail {

/// Numbers on the model's device that are fetched at once, and where they go.
class Numbers {
 public:
  void fetch_into(double& to, const torch::Tensor& value) {
    if (!value.defined()) return;
    values_.push_back(value.detach().reshape({}).to(torch::kFloat64));
    places_.push_back(&to);
  }
  void fetch() {
    if (values_.empty()) return;
    const auto values = torch::stack(values_).to(torch::kCPU);
    const auto at = values.accessor<double, 1>();
    for (size_t i = 0; i < places_.size(); ++i) *places_[i] = at[static_cast<int64_t>(i)];
  }

 private:
  std::vector<torch::Tensor> values_;
  std::vector<double*> places_;
};

}  // namespace evenkeel::detail
