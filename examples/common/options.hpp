// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel::examples {

/// Adds an option whose value is an integer from `least` to `most`, read exactly or refused.
CLI::Option* add_integer(CLI::App& command,
                         const std::string& name,
                         int64_t& field,
                         const std::string& help,
                         int64_t least,
                         int64_t most);

/// Adds an option whose value is a finite number.
CLI::Option* add_real(CLI::App& command,
                      const std::string& name,
                      double& field,
                      const std::string& help);

/// Adds an option of several integers from `least` to `most`, with commas between them.
CLI::Option* add_integers(CLI::App& command,
                          const std::string& name,
                          std::vector<int64_t>& field,
                          const std::string& help,
                          int64_t least,
                          int64_t most);

/// Parses the command line. Returns the exit status where the program is to end: behind --help and
/// --version, which are printed, and behind an error. For a mistyped subcommand or option, the
/// error names the nearest.
std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv);

}  // namespace evenkeel::examples
