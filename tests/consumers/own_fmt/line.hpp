// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

static_assert(FMT_VERSION == OWN_FMT_VERSION, "another fmt than the project's own");

// Appends the line to print. fmt's buffer in the signature: both sides have to mean the same fmt.
void append_line(fmt::memory_buffer& text, float omega);
