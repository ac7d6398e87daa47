// SPDX-License-Identifier: MIT
#include "interval.hpp"

#include <ratio>

namespace evenkeel::examples {

namespace {

// Whether there is a multiple of `every` above `before`, up to `now`.
bool passed(int64_t every, int64_t before, int64_t now) {
  return every > 0 && now / every > before / every;
}

}  // namespace

void Recurring::begin(int64_t updates, int64_t epochs) {
  updates_ = updates;
  epochs_ = epochs;
  time_ = Clock::now();
}

bool Recurring::due(int64_t updates, int64_t epochs) const {
  using Minutes = std::chrono::duration<double, std::ratio<60>>;
  const Minutes minutes = Clock::now() - time_;
  return passed(interval_.updates, updates_, updates) ||
         passed(interval_.epochs, epochs_, epochs) ||
         (interval_.minutes > 0.0 && minutes.count() >= interval_.minutes);
}

}  // namespace evenkeel::examples
