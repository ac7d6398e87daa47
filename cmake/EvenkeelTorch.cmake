# Finds LibTorch and provides the target `torch`. Used by this project's own build and by its installed package.
#
# Torch's own CMake package is let try first. Where it cannot work, the target is made from LibTorch's own libraries:
#   CUDA's LibTorch, no usable toolkit   all of it is linked, CUDA's headers come from pip's packages: programs use the GPU
#   NVIDIA's libraries missing too       torch_cpu and c10 are linked, which one line of the output says
#
# EVENKEEL_HIDE_CUDA_TOOLKIT=ON behaves as if the machine had no toolkit.

include_guard(GLOBAL)

set(EVENKEEL_TORCH_MIN_VERSION 2.4)  # before it the CPU has no fused Adam
set(EVENKEEL_TORCH_CXX20_VERSION 2.13)  # from here on LibTorch's headers are C++20
option(EVENKEEL_HIDE_CUDA_TOOLKIT "Find LibTorch as on a machine without a CUDA toolkit." OFF)
mark_as_advanced(EVENKEEL_HIDE_CUDA_TOOLKIT)

# Folder of TorchConfig.cmake: as find_package would look for it, then that of the Python that runs.
function(_evenkeel_torch_dir out)
  file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" env_prefixes)
  find_path(
    EVENKEEL_TORCH_DIR TorchConfig.cmake
    HINTS ${Torch_DIR} $ENV{Torch_DIR} ${CMAKE_PREFIX_PATH} ${env_prefixes}
    PATH_SUFFIXES Torch share/cmake/Torch lib/cmake/Torch lib/${CMAKE_LIBRARY_ARCHITECTURE}/cmake/Torch
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

# Whether a project with the settings of this one that finds Torch's own package configures, generates and links. Tried in
# a project of its own, since what fails there ends the whole configuration, and once for the same settings.
function(_evenkeel_torch_package_works torch_dir out)
  set(settings)
  foreach(name IN ITEMS CMAKE_BUILD_TYPE CMAKE_CXX_COMPILER CMAKE_CXX_FLAGS CMAKE_CXX_STANDARD CMAKE_CUDA_ARCHITECTURES
                        CMAKE_CUDA_COMPILER CMAKE_CUDA_STANDARD CMAKE_MAKE_PROGRAM CMAKE_PREFIX_PATH CMAKE_TOOLCHAIN_FILE
                        CUDA_TOOLKIT_ROOT_DIR CUDAToolkit_ROOT)
    if(DEFINED ${name})
      string(REPLACE ";" "\\;" value "${${name}}")
      list(APPEND settings "-D${name}=${value}")
    endif()
  endforeach()
  if(NOT EVENKEEL_TORCH_TRIED STREQUAL "${torch_dir} ${settings}")
    set(work "${CMAKE_BINARY_DIR}/CMakeFiles/evenkeel-torch")
    file(REMOVE_RECURSE "${work}")
    file(WRITE "${work}/CMakeLists.txt"
         "cmake_minimum_required(VERSION 3.25)\n"
         "project(evenkeel_torch LANGUAGES CXX)\n"
         "find_package(Torch REQUIRED PATHS \"${torch_dir}\" NO_DEFAULT_PATH)\n"
         "add_executable(evenkeel_torch main.cpp)\n"
         "target_link_libraries(evenkeel_torch PRIVATE torch)\n")
    file(WRITE "${work}/main.cpp" "int main() {}\n")
    execute_process(COMMAND ${CMAKE_COMMAND} -S "${work}" -B "${work}/build" -G "${CMAKE_GENERATOR}" ${settings}
                    RESULT_VARIABLE result OUTPUT_FILE "${work}/log" ERROR_FILE "${work}/log")
    if(result EQUAL 0)
      execute_process(COMMAND ${CMAKE_COMMAND} --build "${work}/build" RESULT_VARIABLE result
                      OUTPUT_FILE "${work}/build.log" ERROR_FILE "${work}/build.log")
    endif()
    set(works FALSE)
    if(result EQUAL 0)
      set(works TRUE)
    endif()
    set(EVENKEEL_TORCH_TRIED "${torch_dir} ${settings}" CACHE INTERNAL "What Torch's own CMake package was tried with")
    set(EVENKEEL_TORCH_WORKS "${works}" CACHE INTERNAL "Whether it works")
  endif()
  set(${out} "${EVENKEEL_TORCH_WORKS}" PARENT_SCOPE)
endfunction()

# The target `torch` from LibTorch's own libraries, of pip's package or of a zip archive.
function(_evenkeel_torch_from_libraries prefix with_cuda)
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
    find_path(cuda_headers cuda_runtime_api.h PATHS ${nvidia_includes} NO_DEFAULT_PATH NO_CACHE)
    if(NOT cuda_headers)
      message(STATUS "evenkeel: CUDA's headers are missing: training steps run without CUDA graphs")
    endif()
  endif()
  find_package(Threads REQUIRED)
  add_library(torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(torch SYSTEM INTERFACE ${include})
  target_link_libraries(torch INTERFACE ${libraries} Threads::Threads)
  if(NOT with_cuda)
    target_compile_definitions(torch INTERFACE EVENKEEL_CUDA_GRAPHS=0)
  endif()
  foreach(folder IN LISTS nvidia_libs)  # where the linker finds what LibTorch itself needs
    target_link_options(torch INTERFACE "LINKER:-rpath-link,${folder}")
  endforeach()
  file(STRINGS "${prefix}/share/cmake/Torch/TorchConfig.cmake" abi REGEX "-D_GLIBCXX_USE_CXX11_ABI=[01]")
  if(abi MATCHES "_GLIBCXX_USE_CXX11_ABI=[01]")
    target_compile_definitions(torch INTERFACE ${CMAKE_MATCH_0})
  endif()
endfunction()

# Whether a file of that pattern lies in LibTorch's own folder or in those of NVIDIA's packages beside it.
function(_evenkeel_has_library prefix pattern out)
  file(GLOB files "${prefix}/lib/${pattern}" "${prefix}/../nvidia/*/lib/${pattern}")
  set(found FALSE)
  if(files)
    set(found TRUE)
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# LibTorch's headers include fmt's. A program has one fmt: its own, where it has found or added one before, else the one
# that most LibTorch ship, else the machine's.
function(_evenkeel_choose_fmt)
  if(NOT TARGET fmt::fmt)
    get_target_property(shipped torch INTERFACE_INCLUDE_DIRECTORIES)
    find_path(shipped_fmt fmt/format.h PATHS ${shipped} NO_DEFAULT_PATH NO_CACHE)
    if(shipped_fmt)
      return()
    endif()
    find_package(fmt QUIET)
    if(NOT TARGET fmt::fmt)
      message(FATAL_ERROR
        "evenkeel: expected fmt's headers beside LibTorch's in ${shipped}, or a fmt that find_package(fmt) finds, "
        "but there is neither. Install it (Debian: libfmt-dev)")
    endif()
  endif()
  get_target_property(folders fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  list(FILTER folders EXCLUDE REGEX "-NOTFOUND$")
  foreach(folder IN LISTS folders)
    if(folder IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)  # never named to the compiler: LibTorch's would come first
      set(link "${CMAKE_BINARY_DIR}/CMakeFiles/evenkeel-fmt")
      file(MAKE_DIRECTORY "${link}")
      file(CREATE_LINK "${folder}/fmt" "${link}/fmt" SYMBOLIC)
      set(folder "${link}")
    endif()
    target_include_directories(torch SYSTEM BEFORE INTERFACE "${folder}")
  endforeach()
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
    get_filename_component(EVENKEEL_TORCH_PREFIX "${_evenkeel_torch_dir}/../../.." ABSOLUTE)

    set(_evenkeel_torch_own_package TRUE)
    if(EXISTS "${EVENKEEL_TORCH_PREFIX}/lib/libtorch_cuda.so")
      find_program(_evenkeel_nvcc nvcc PATHS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin NO_CACHE)
      if(NOT _evenkeel_nvcc OR EVENKEEL_HIDE_CUDA_TOOLKIT)
        set(_evenkeel_torch_own_package FALSE)
      else()
        _evenkeel_torch_package_works("${_evenkeel_torch_dir}" _evenkeel_torch_own_package)
      endif()
    endif()
    if(_evenkeel_torch_own_package)
      # GLOBAL: torch_cpu and all else that `torch` names have to be seen where evenkeel is a subdirectory.
      find_package(Torch ${EVENKEEL_TORCH_MIN_VERSION} REQUIRED GLOBAL PATHS "${_evenkeel_torch_dir}" NO_DEFAULT_PATH)
      message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version}, by its own CMake package")
    else()
      _evenkeel_has_library("${EVENKEEL_TORCH_PREFIX}" "libcudart*.so*" _evenkeel_cudart)
      if(NOT _evenkeel_cudart)
        message(FATAL_ERROR
          "evenkeel: LibTorch in ${EVENKEEL_TORCH_PREFIX} cannot be loaded: expected NVIDIA's libcudart, which its CPU "
          "part too is linked with, but found none. Reinstall it: pip install torch==${_evenkeel_torch_version}")
      endif()
      _evenkeel_has_library("${EVENKEEL_TORCH_PREFIX}" "libcudnn*.so*" _evenkeel_cudnn)
      _evenkeel_torch_from_libraries("${EVENKEEL_TORCH_PREFIX}" "${_evenkeel_cudnn}")
      if(_evenkeel_cudnn)
        message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version} with CUDA, from its own libraries")
      else()
        message(STATUS "evenkeel: LibTorch ${_evenkeel_torch_version}, its CPU part alone: NVIDIA's libraries are missing")
      endif()
      set(TORCH_LIBRARIES torch)
      set(TORCH_FOUND TRUE)
    endif()
    if(_evenkeel_torch_version VERSION_GREATER_EQUAL EVENKEEL_TORCH_CXX20_VERSION)
      set_property(TARGET torch APPEND PROPERTY INTERFACE_COMPILE_FEATURES cxx_std_20)
    endif()
  endif()
  _evenkeel_choose_fmt()
endmacro()
