// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/residual/admin_residual.hpp>

// A residual of a stack of 36 sub-layers.
evenkeel::AdminResidual<> deep_residual();
