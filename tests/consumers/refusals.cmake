# What evenkeel says of a LibTorch that it cannot use.

set(torch "${WORK_DIR}/libtorch")

function(expect_refusal text)
  file(WRITE "${WORK_DIR}/project/CMakeLists.txt" "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\n"
                                                  "include(${SOURCE_DIR}/cmake/EvenkeelTorch.cmake)\nevenkeel_find_torch()\n")
  file(REMOVE_RECURSE "${WORK_DIR}/build")
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S "${WORK_DIR}/project" -B "${WORK_DIR}/build" -G "${GENERATOR}"
            "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" "-DTorch_DIR=${torch}/share/cmake/Torch"
            -DEVENKEEL_HIDE_CUDA_TOOLKIT=ON -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON
    RESULT_VARIABLE result ERROR_VARIABLE said OUTPUT_QUIET)
  string(REGEX REPLACE "[ \n]+" " " said "${said}")
  if(result EQUAL 0 OR NOT said MATCHES "${text}")
    message(FATAL_ERROR "expected to be refused with \"${text}\", but got ${result}: ${said}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
file(WRITE "${torch}/share/cmake/Torch/TorchConfig.cmake" "")
file(WRITE "${torch}/share/cmake/Torch/TorchConfigVersion.cmake" "set(PACKAGE_VERSION \"1.13.1\")\n")
expect_refusal("evenkeel: expected LibTorch [0-9.]+ or later, but got 1[.]13[.]1 in ")

file(WRITE "${torch}/share/cmake/Torch/TorchConfigVersion.cmake" "set(PACKAGE_VERSION \"2.11.0\")\n")
file(WRITE "${torch}/lib/libtorch_cuda.so" "")
expect_refusal("evenkeel: LibTorch in [^ ]+ cannot be loaded: expected NVIDIA's libcudart")

file(WRITE "${torch}/lib/libcudart.so.13" "")
expect_refusal("evenkeel: expected fmt's headers beside LibTorch's in ")
