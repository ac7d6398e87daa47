// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/evenkeel.hpp>

#include <vector>

namespace evenkeel::test {

template <typename Function>
const void* address_of(Function* function) {
  return reinterpret_cast<const void*>(function);
}

// Of this unit's own: an internal function, whose addresses the other unit cannot see.
static std::vector<const void*> addresses_of_functions() {
  return {address_of(&omega_init),
          address_of(&parse_output_change_scale),
          address_of(&tfixup_draw),
          address_of(&deepnorm_encoder_factors),
          address_of(&register_omega_buffer),
          address_of(&register_omega_parameter),
          address_of(&schemes),
          address_of(&find_scheme),
          address_of(&nn::sinusoidal_positions),
          address_of(&train::inverse_sqrt_lr),
          static_cast<const void*>(&kVersion)};
}

std::vector<const void*> first_unit_functions();
std::vector<const void*> second_unit_functions();

}  // namespace evenkeel::test
