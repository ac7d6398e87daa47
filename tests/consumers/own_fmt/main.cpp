// SPDX-License-Identifier: MIT
#include "line.hpp"

#include <evenkeel/residual/admin_residual.hpp>

#include <iostream>

int main() {
  const evenkeel::AdminResidual<> residual(36);
  fmt::memory_buffer text;
  append_line(text, residual->omega.item<float>());
  std::cout << fmt::to_string(text);
}
