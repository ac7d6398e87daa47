// SPDX-License-Identifier: MIT
// Carries the precompiled header that every test shares.
#include "precompiled.hpp"
