// SPDX-License-Identifier: MIT
// Stands between a test and NVRTC. What the environment variable EVENKEEL_TEST_NVRTC says:
//   missing      there is none, as on a machine that lacks it
//   no_kernel    it compiles nothing
//   no_backward  it compiles no kernel that gives x a gradient
#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {

void* real_nvrtc = nullptr;
bool gives_dx = false;  // the program that was made last

bool mode_is(const char* mode) {
  const char* value = std::getenv("EVENKEEL_TEST_NVRTC");
  return value != nullptr && std::strcmp(value, mode) == 0;
}

template <typename Function>
Function* real(Function* /*type*/, const char* name) {
  return reinterpret_cast<Function*>(dlsym(real_nvrtc, name));
}

}  // namespace

// NOLINTBEGIN(bugprone-macro-parentheses): a function's parameters and its arguments
#define EVENKEEL_PASS_ON(name, parameters, arguments) \
  extern "C" int name parameters {                    \
    return real(&name, #name) arguments;              \
  }
// NOLINTEND(bugprone-macro-parentheses)

EVENKEEL_PASS_ON(nvrtcVersion, (int* major, int* minor), (major, minor))
EVENKEEL_PASS_ON(nvrtcGetCUBINSize, (void* program, size_t* size), (program, size))
EVENKEEL_PASS_ON(nvrtcGetCUBIN, (void* program, char* cubin), (program, cubin))
EVENKEEL_PASS_ON(nvrtcGetProgramLogSize, (void* program, size_t* size), (program, size))
EVENKEEL_PASS_ON(nvrtcGetProgramLog, (void* program, char* log), (program, log))
EVENKEEL_PASS_ON(nvrtcDestroyProgram, (void** program), (program))

extern "C" int nvrtcCreateProgram(void** program,
                                  const char* source,
                                  const char* name,
                                  int count,
                                  const char* const* headers,
                                  const char* const* names) {
  gives_dx = std::strstr(source, "#define DX 1\n") != nullptr;
  return real(&nvrtcCreateProgram,
              "nvrtcCreateProgram")(program, source, name, count, headers, names);
}

extern "C" int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  if (mode_is("no_kernel") || (mode_is("no_backward") && gives_dx)) {
    const char* unknown = "--an-option-that-it-does-not-know";
    return real(&nvrtcCompileProgram, "nvrtcCompileProgram")(program, 1, &unknown);
  }
  return real(&nvrtcCompileProgram, "nvrtcCompileProgram")(program, count, options);
}

/// In place of the C library's for the whole program.
extern "C" void* dlopen(const char* name, int flags) {
  using Function = void*(const char*, int);
  static auto* const next = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, "dlopen"));
  // NVRTC loads libnvrtc-builtins itself.
  const bool wanted = name != nullptr && std::strstr(name, "nvrtc") != nullptr &&
                      std::strstr(name, "nvrtc-builtins") == nullptr;
  if (!wanted) return next(name, flags);
  if (mode_is("missing")) return nullptr;
  real_nvrtc = next(name, flags);
  return real_nvrtc == nullptr ? nullptr : next(nullptr, RTLD_NOW);  // this program's own, above
}
