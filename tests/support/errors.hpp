// SPDX-License-Identifier: MIT
#pragma once

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <exception>
#include <string>

namespace evenkeel::test {

/// `f()` throws an `Error` whose text holds `text`.
template <typename Error = c10::Error, typename F>
::testing::AssertionResult throws(F&& f, const std::string& text) {
  std::string said;
  try {
    f();
    return ::testing::AssertionFailure() << "nothing was thrown";
  } catch (const Error& error) {
    if constexpr (std::is_base_of_v<c10::Error, Error>) {
      said = error.what_without_backtrace();
    } else {
      said = error.what();
    }
  } catch (const std::exception& error) {
    return ::testing::AssertionFailure() << "thrown was another error: " << error.what();
  }
  if (said.find(text) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "expected: " << text << "\nsaid: " << said;
}

}  // namespace evenkeel::test
