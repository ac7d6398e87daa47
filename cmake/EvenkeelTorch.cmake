# Finds LibTorch and provides the target `torch`. Used by this project's own build and by its installed package.
#
# Torch's own CMake package is let try first. It stops on a machine that has pip's CUDA wheel but no CUDA toolkit, or only
# the CPU's part of that wheel; there the target is made from the wheel's own libraries:
#   whole wheel, no toolkit   torch_cuda is linked, CUDA's headers come from the wheel: programs use the GPU
#   CPU's part alone          torch_cpu and c10 are linked, which one line of the output says
#
# EVENKEEL_HIDE_CUDA_TOOLKIT=ON behaves as if the machine had no toolkit.

include_guard(GLOBAL)

set(EVENKEEL_TORCH_MIN_VERSION 2.4)
option(EVENKEEL_HIDE_CUDA_TOOLKIT "Find LibTorch as on a machine without a CUDA toolkit." OFF)
mark_as_advanced(EVENKEEL_HIDE_CUDA_TOOLKIT)

# Folder of TorchConfig.cmake: as find_package would look for it, then that of the Python that runs.
function(_evenkeel_torch_dir out)
  file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" env_prefixes)
  find_path(
    EVENKEEL_TORCH_DIR TorchConfig.cmake
    HINTS ${Torch_DIR} $ENV{Torch_DIR} ${CMAKE_PREFIX_PATH} ${env_prefixes}
    PATH_SUFFIXES Torch share/cmake/Torch lib/cmake/Torch
    NO_CACHE)
  if(NOT EVENKEEL_TORCH_DIR)
    find_program(EVENKEEL_PYTHON3 NAMES python3 NO_CACHE)
    if(EVENKEEL_PYTHON3)
      execute_process(
        COMMAND ${EVENKEEL_PYTHON3} -c
          "import importlib.util as u; s = u.find_spec('torch'); print(list(s.submodule_search_locations)[0] if s else '')"
        OUTPUT_VARIABLE package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(package AND EXISTS "${package}/share/cmake/Torch/TorchConfig.cmake")
        set(EVENKEEL_TORCH_DIR "${package}/share/cmake/Torch")
      endif()
    endif()
  endif()
  set(${out} "${EVENKEEL_TORCH_DIR}" PARENT_SCOPE)
endfunction()

# The target `torch` from a wheel's own libraries.
function(_evenkeel_torch_from_wheel prefix with_cuda)
  set(lib "${prefix}/lib")
  set(include "${prefix}/include" "${prefix}/include/torch/csrc/api/include")
  set(libraries "${lib}/libtorch_cpu.so" "${lib}/libc10.so")
  file(GLOB nvidia_libs LIST_DIRECTORIES true "${prefix}/../nvidia/*/lib")
  if(with_cuda)
    # Nothing in a program names a symbol of torch_cuda; it registers itself when it is loaded.
    list(PREPEND libraries -Wl,--push-state,--no-as-needed "${lib}/libtorch.so" "${lib}/libtorch_cuda.so" -Wl,--pop-state
         "${lib}/libc10_cuda.so")
    file(GLOB nvidia_includes LIST_DIRECTORIES true "${prefix}/../nvidia/*/include")
    list(APPEND include ${nvidia_includes})
  endif()
  add_library(torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(torch SYSTEM INTERFACE ${include})
  target_link_libraries(torch INTERFACE ${libraries} Threads::Threads)
  foreach(folder IN LISTS nvidia_libs)  # where the linker finds what LibTorch itself needs
    target_link_options(torch INTERFACE "LINKER:-rpath-link,${folder}")
  endforeach()
  target_compile_features(torch INTERFACE cxx_std_17)
endfunction()

macro(evenkeel_find_torch)
  if(NOT TARGET torch)
    _evenkeel_torch_dir(_evenkeel_torch_dir)
    if(NOT _evenkeel_torch_dir)
      message(FATAL_ERROR
        "evenkeel: LibTorch was not found. Install it (pip install torch) or say where it is: "
        "-DCMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')")
    endif()
    file(STRINGS "${_evenkeel_torch_dir}/TorchConfigVersion.cmake" _evenkeel_torch_version REGEX "set\\(PACKAGE_VERSION ")
    string(REGEX REPLACE ".*\"([0-9.]+).*" "\\1" _evenkeel_torch_version "${_evenkeel_torch_version}")
    if(_evenkeel_torch_version VERSION_LESS EVENKEEL_TORCH_MIN_VERSION)
      message(FATAL_ERROR
        "evenkeel: expected LibTorch ${EVENKEEL_TORCH_MIN_VERSION} or later, but got ${_evenkeel_torch_version} "
        "in ${_evenkeel_torch_dir}")
    endif()
    get_filename_component(_evenkeel_torch_prefix "${_evenkeel_torch_dir}/../../.." ABSOLUTE)

    find_package(Threads REQUIRED)
    set(_evenkeel_torch_own FALSE)
    if(EXISTS "${_evenkeel_torch_prefix}/lib/libtorch_cuda.so")
      find_program(_evenkeel_nvcc nvcc PATHS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin NO_CACHE)
      find_library(_evenkeel_cudnn NAMES libcudnn.so.9 libcudnn.so.8 cudnn
                   PATHS "${_evenkeel_torch_prefix}/../nvidia/cudnn/lib" "${_evenkeel_torch_prefix}/lib" NO_CACHE)
      if(NOT _evenkeel_cudnn)
        set(_evenkeel_torch_own TRUE)
        message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version}, its CPU's part alone: "
                       "this is a CUDA wheel without NVIDIA's libraries")
        _evenkeel_torch_from_wheel("${_evenkeel_torch_prefix}" FALSE)
      elseif(NOT _evenkeel_nvcc OR EVENKEEL_HIDE_CUDA_TOOLKIT)
        set(_evenkeel_torch_own TRUE)
        message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version} with CUDA, from the wheel's own libraries")
        _evenkeel_torch_from_wheel("${_evenkeel_torch_prefix}" TRUE)
      endif()
    endif()
    if(NOT _evenkeel_torch_own)
      # GLOBAL: torch_cpu and all else that `torch` names have to be seen where evenkeel is a subdirectory.
      find_package(Torch ${EVENKEEL_TORCH_MIN_VERSION} REQUIRED GLOBAL PATHS "${_evenkeel_torch_dir}" NO_DEFAULT_PATH)
      message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version}, by its own CMake package")
    endif()
  endif()
endmacro()
