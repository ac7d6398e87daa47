// SPDX-License-Identifier: MIT
#pragma once

#include "all_close.hpp"

#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/serialize.h>
#include <torch/types.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace evenkeel::test {

/// A holder of the clone.
template <typename Holder>
Holder clone_of(const Holder& module) {
  return Holder(std::dynamic_pointer_cast<typename Holder::ContainedType>(module->clone()));
}

/// What a module prints.
template <typename Holder>
std::string printed(const Holder& module) {
  std::ostringstream stream;
  stream << *module;
  return stream.str();
}

/// Saves `from` and loads what was written into `into`.
template <typename From, typename Into>
void save_and_load(const From& from, Into& into) {
  std::stringstream stream;
  torch::save(from, stream);
  torch::load(into, stream);
}

/// Registered names, then "buffers" and theirs.
inline std::vector<std::string> state_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& parameter : module.named_parameters()) names.push_back(parameter.key());
  names.emplace_back("buffers");
  for (const auto& buffer : module.named_buffers()) names.push_back(buffer.key());
  return names;
}

/// All parameters, then all buffers.
inline std::vector<torch::Tensor> state_of(const torch::nn::Module& module) {
  auto tensors = module.parameters();
  const auto buffers = module.buffers();
  tensors.insert(tensors.end(), buffers.begin(), buffers.end());
  return tensors;
}

/// A copy of all parameters and buffers.
inline std::vector<torch::Tensor> copy_of_state(const torch::nn::Module& module) {
  auto tensors = state_of(module);
  for (auto& tensor : tensors) tensor = tensor.detach().clone();
  return tensors;
}

/// The module's parameters and buffers have these bits.
inline ::testing::AssertionResult has_state(const torch::nn::Module& module,
                                            const std::vector<torch::Tensor>& expected) {
  const auto state = state_of(module);
  const auto names = state_names(module);
  if (state.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << state.size() << " tensors where " << expected.size() << " were expected";
  }
  for (size_t i = 0; i < state.size(); ++i) {
    const auto same = same_bits(state[i], expected[i]);
    if (!same) return ::testing::AssertionFailure() << "tensor " << i << ": " << same.message();
  }
  return ::testing::AssertionSuccess();
}

/// Same names and bits of all parameters and buffers.
inline ::testing::AssertionResult same_state(const torch::nn::Module& a,
                                             const torch::nn::Module& b) {
  if (state_names(a) != state_names(b)) {
    return ::testing::AssertionFailure() << "registered names differ";
  }
  return has_state(a, state_of(b));
}

/// No parameter or buffer of one lies in the memory of the other's.
inline ::testing::AssertionResult shares_nothing(const torch::nn::Module& a,
                                                 const torch::nn::Module& b) {
  for (const auto& x : state_of(a)) {
    for (const auto& y : state_of(b)) {
      if (x.data_ptr() == y.data_ptr()) {
        return ::testing::AssertionFailure() << "a tensor of shape " << x.sizes() << " is shared";
      }
    }
  }
  return ::testing::AssertionSuccess();
}

/// Fills every parameter with numbers of its own, so that no two could be exchanged unseen.
inline void randomise(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) parameter.normal_();
}

}  // namespace evenkeel::test
