// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <string>

namespace evenkeel::examples {

/// What main() does: prepares the standard streams, runs `body` and returns its exit status. An
/// error becomes a line on standard error and the status 1, memory that is short in a destructor
/// included.
int run_program(const char* name, const std::function<int()>& body);

/// A line on standard error, if there is one, that begins with the program's name.
void complain(const std::string& text);

}  // namespace evenkeel::examples
