// SPDX-License-Identifier: MIT
#pragma once

#include <evenkeel/kernels/detail/platform.hpp>

#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>

namespace evenkeel::detail::cuda {

/// What the code of a kernel has in capitals.
struct Definition {
  const char* name;
  uint64_t value;
};

/// What NVRTC compiles: definitions, and parts of code. The records that the program passes to a
/// kernel are declared by one text on both sides; the code compares their sizes, SIZE_OF_...
EVENKEEL_COLD inline std::string source_text(c10::ArrayRef<Definition> definitions,
                                             std::initializer_list<const char*> parts) {
  std::string source =
      "#define INLINE __device__ __forceinline__\n"
      "#define UNROLL _Pragma(\"unroll\")\n";
  for (const auto& [name, value] : definitions) {
    source.append("#define ").append(name).append(" ").append(std::to_string(value)).append("\n");
  }
  for (const char* part : parts) {
    // A line for each statement, for the sake of the compiler's messages.
    for (; *part != '\0'; ++part) {
      const bool at_end = *part == ' ' && std::strchr(";{}", source.back()) != nullptr;
      source += at_end ? '\n' : *part;
    }
    source += '\n';
  }
  return source;
}

}  // namespace evenkeel::detail::cuda
