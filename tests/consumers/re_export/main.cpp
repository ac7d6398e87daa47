// SPDX-License-Identifier: MIT
#include <deep.hpp>

#include <fmt/format.h>

int main() {
  fmt::print("omega of 36 sub-layers: {:.6f}\n", deep_residual()->omega.item<float>());
}
