// SPDX-License-Identifier: MIT
#pragma once

/// The version of evenkeel, e.g. `#if EVENKEEL_VERSION >= 10000  // 1.0.0`.
#define EVENKEEL_VERSION_MAJOR 0
#define EVENKEEL_VERSION_MINOR 1
#define EVENKEEL_VERSION_PATCH 0
#define EVENKEEL_VERSION \
  (EVENKEEL_VERSION_MAJOR * 10000 + EVENKEEL_VERSION_MINOR * 100 + EVENKEEL_VERSION_PATCH)

namespace evenkeel {

/// The version as a string.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace evenkeel
