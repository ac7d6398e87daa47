# `evenkeel_warnings`: for this project's own tests, examples and benchmarks; never exported.
add_library(evenkeel_warnings INTERFACE)
target_compile_options(
  evenkeel_warnings
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wshadow
            -Wnon-virtual-dtor
            # LibTorch's FORWARD_HAS_DEFAULT_ARGS calls a macro with nothing for its `...`, as C++20 allows.
            $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-zero-variadic-macro-arguments>)
