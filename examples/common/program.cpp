// SPDX-License-Identifier: MIT
#include "program.hpp"

#include "standard_streams.hpp"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

namespace evenkeel::examples {

namespace {

const char* program = "evenkeel";

// Allocates nothing.
void complain_of_memory() {
  std::fputs(program, stderr);
  std::fputs(": out of memory\n", stderr);
}

// Memory that is short in a destructor, such as nlohmann-json's, is told like any other.
[[noreturn]] void on_terminate() {
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::bad_alloc&) {
    complain_of_memory();
    std::_Exit(1);
  } catch (...) {  // NOLINT(bugprone-empty-catch): the standard's way to end, as below
  }
  std::abort();
}

}  // namespace

int run_program(const char* name, const std::function<int()>& body) {
  program = name;
  prepare_standard_streams();
  std::set_terminate(on_terminate);
  try {
    return body();
  } catch (const c10::Error& error) {
    complain(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    complain_of_memory();
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return 1;
}

void complain(const std::string& text) {
  std::fputs((std::string(program) + ": " + text + "\n").c_str(), stderr);
}

}  // namespace evenkeel::examples
