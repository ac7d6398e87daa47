// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/shared_code.hpp>

EVENKEEL_SHARED_CODE(
    kHeadStridesCode,

    // Elements from one batch row, head and position to the next; columns are next to each other.
    struct HeadStrides { long long batch, head, row; };)
