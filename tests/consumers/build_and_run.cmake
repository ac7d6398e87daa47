# Configures, builds and runs the project CONSUMER in WORK_DIR; first installs evenkeel there where it is to be found.

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "failed with ${result}: ${command}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
set(prefixes "${PREFIX_PATH}")
set(arguments)
if(CONSUMER STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install "${EVENKEEL_BINARY_DIR}" --prefix "${WORK_DIR}/prefix")
  list(PREPEND prefixes "${WORK_DIR}/prefix")
else()
  list(APPEND arguments "-DEVENKEEL_SOURCE_DIR=${SOURCE_DIR}")
endif()
if(TORCH_DIR)
  list(APPEND arguments "-DTorch_DIR=${TORCH_DIR}")
endif()
list(JOIN prefixes "\\;" prefixes)

run(${CMAKE_COMMAND} -S "${SOURCE_DIR}/tests/consumers/${CONSUMER}" -B "${WORK_DIR}/build" -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}" -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O0"
    "-DCMAKE_PREFIX_PATH=${prefixes}" "-DEVENKEEL_HIDE_CUDA_TOOLKIT=${HIDE_CUDA_TOOLKIT}" ${arguments})
run(${CMAKE_COMMAND} --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/consumer")
