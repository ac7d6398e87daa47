// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace evenkeel::detail {

/// The form of a kernel, a record of bit fields in one word, as a number: what kernels are found
/// by, and what a graph of autograd keeps.
template <typename Form>
uint64_t form_key(const Form& form) {
  uint64_t key = 0;
  static_assert(sizeof(form) == sizeof(key) && std::is_trivially_copyable_v<Form>);
  std::memcpy(&key, &form, sizeof(key));
  return key;
}

/// The form of a key.
template <typename Form>
Form form_of_key(uint64_t key) {
  Form form{};
  static_assert(sizeof(form) == sizeof(key) && std::is_trivially_copyable_v<Form>);
  std::memcpy(static_cast<void*>(&form), &key, sizeof(key));
  return form;
}

}  // namespace evenkeel::detail
