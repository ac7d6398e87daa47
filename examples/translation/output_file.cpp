// SPDX-License-Identifier: MIT
#include "output_file.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>

namespace evenkeel::translation {

void write_lines(const std::vector<std::string>& lines, const std::string& file) {
  if (file.empty()) {
    for (const auto& line : lines) std::cout << line << '\n';
    std::cout.flush();
    if (!std::cout) throw std::runtime_error("standard output cannot be written");
    return;
  }
  const auto part = file + ".part";
  std::ofstream stream(part, std::ios::trunc);
  for (const auto& line : lines) stream << line << '\n';
  stream.close();
  if (!stream) {
    std::remove(part.c_str());
    throw std::runtime_error(file + ": cannot be written");
  }
  std::filesystem::rename(part, file);
}

}  // namespace evenkeel::translation
