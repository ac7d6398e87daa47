// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

/// Declares an option `name` with its getter and its setter, which returns the whole options, so
/// that setters can be chained. Like TORCH_ARG, but for options that several classes share: use it
/// in a class template `Options<Derived>`.
#define EVENKEEL_ARG(T, name)            \
 public:                                 \
  Derived& name(T value) {               \
    this->name##_ = std::move(value);    \
    return static_cast<Derived&>(*this); \
  }                                      \
  const T& name() const noexcept {       \
    return this->name##_;                \
  }                                      \
                                         \
 private:                                \
  T name##_ /* NOLINT */
