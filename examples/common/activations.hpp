// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/core/enums.hpp>

#include <string>

namespace evenkeel::examples {

/// The activation of --activation: relu, gelu, silu or swiglu. Throws ConfigError for another name.
Activation activation_of_option(const std::string& name);

/// The name by which --activation has one of these.
std::string option_of_activation(Activation activation);

}  // namespace evenkeel::examples
