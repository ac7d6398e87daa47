// SPDX-License-Identifier: MIT
#include <evenkeel/evenkeel.hpp>

#include "link.hpp"

namespace evenkeel::test {

std::vector<const void*> second_unit_functions() {
  return addresses_of_functions();
}

}  // namespace evenkeel::test
