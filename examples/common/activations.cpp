// SPDX-License-Identifier: MIT
#include "activations.hpp"

#include "settings.hpp"

#include <c10/util/Exception.h>

#include <utility>
#include <vector>

namespace evenkeel::examples {

namespace {

const std::vector<std::pair<std::string, Activation>>& activations() {
  static const std::vector<std::pair<std::string, Activation>> all{{"relu", Activation::kReLU},
                                                                   {"gelu", Activation::kGELU},
                                                                   {"silu", Activation::kSiLU},
                                                                   {"swiglu", Activation::kSwiGLU}};
  return all;
}

}  // namespace

Activation activation_of_option(const std::string& name) {
  return value_by_name("activation", name, activations());
}

std::string option_of_activation(Activation activation) {
  for (const auto& [name, value] : activations()) {
    if (value == activation) return name;
  }
  TORCH_CHECK(false, "--activation: has no name for ", to_string(activation));
  return "";
}

}  // namespace evenkeel::examples
