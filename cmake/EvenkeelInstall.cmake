include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(evenkeel_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/evenkeel")

install(TARGETS evenkeel EXPORT evenkeelTargets FILE_SET HEADERS)
install(EXPORT evenkeelTargets NAMESPACE evenkeel:: DESTINATION "${evenkeel_cmake_dir}")

configure_package_config_file(
  cmake/evenkeelConfig.cmake.in "${PROJECT_BINARY_DIR}/evenkeelConfig.cmake"
  INSTALL_DESTINATION "${evenkeel_cmake_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/evenkeelConfigVersion.cmake" COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/evenkeelConfig.cmake" "${PROJECT_BINARY_DIR}/evenkeelConfigVersion.cmake"
              cmake/EvenkeelTorch.cmake
        DESTINATION "${evenkeel_cmake_dir}")
