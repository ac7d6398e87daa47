// SPDX-License-Identifier: MIT
#include <evenkeel/residual/scheme.hpp>

// A position that is not const cannot be asked about.
struct NotConst {
  static evenkeel::Norms norms(const evenkeel::Position&) { return evenkeel::Norms::at_sum(); }
  static evenkeel::Gain shortcut(evenkeel::Position&) { return evenkeel::Gain::fixed(2.0); }
};

evenkeel::Scheme scheme() {
  return evenkeel::scheme_of<NotConst>();
}
