// SPDX-License-Identifier: MIT
#include "deep.hpp"

evenkeel::AdminResidual<> deep_residual() {
  return evenkeel::AdminResidual<>(36);
}
