// SPDX-License-Identifier: MIT
#include <evenkeel/residual/scheme.hpp>

struct NotStatic {
  static evenkeel::Norms norms(const evenkeel::Position&) { return evenkeel::Norms::at_sum(); }
  double norm_gain(const evenkeel::Position&) const { return 2.0; }
};

evenkeel::Scheme scheme() {
  return evenkeel::scheme_of<NotStatic>();
}
