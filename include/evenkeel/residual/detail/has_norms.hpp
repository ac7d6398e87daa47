// SPDX-License-Identifier: MIT
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <vector>

namespace evenkeel::detail {

/// A module that holds norms of any type, and knows that they are norms.
class HasNorms {
 public:
  virtual ~HasNorms() = default;
  /// The norms that it has registered.
  virtual std::vector<std::shared_ptr<torch::nn::Module>> norm_modules() const = 0;

 protected:
  HasNorms() = default;
  HasNorms(const HasNorms&) = default;
  HasNorms(HasNorms&&) = default;
  HasNorms& operator=(const HasNorms&) = default;
  HasNorms& operator=(HasNorms&&) = default;
};

}  // namespace evenkeel::detail
