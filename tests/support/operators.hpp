// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/record_function.h>

#include <map>
#include <memory>
#include <string>

namespace evenkeel::test {

/// How often f() calls each operator, by name, such as "aten::mul", on this thread.
template <typename F>
std::map<std::string, int> operators_of(F&& f) {
  static thread_local std::map<std::string, int>* counts = nullptr;
  std::map<std::string, int> calls;
  counts = &calls;
  const auto handle =
      at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& function) {
                                   ++(*counts)[function.name()];
                                   return std::unique_ptr<at::ObserverContext>();
                                 }).scopes({at::RecordScope::FUNCTION}));
  f();
  at::removeCallback(handle);
  counts = nullptr;
  return calls;
}

}  // namespace evenkeel::test
