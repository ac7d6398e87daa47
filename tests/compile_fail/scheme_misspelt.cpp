// SPDX-License-Identifier: MIT
#include <evenkeel/residual/scheme.hpp>

struct Misspelt {
  static evenkeel::Norms norms(const evenkeel::Position&) { return evenkeel::Norms::at_sum(); }
  static evenkeel::Gain shorcut(const evenkeel::Position&) { return evenkeel::Gain::fixed(2.0); }
};

evenkeel::Scheme scheme() {
  return evenkeel::scheme_of<Misspelt>();
}
