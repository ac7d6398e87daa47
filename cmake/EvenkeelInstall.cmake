include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(evenkeel_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/evenkeel")
set(evenkeel_pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

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

file(RELATIVE_PATH EVENKEEL_PC_PREFIX "/${evenkeel_pkgconfig_dir}" "/")
string(REGEX REPLACE "/$" "" EVENKEEL_PC_PREFIX "${EVENKEEL_PC_PREFIX}")
configure_file(cmake/evenkeel.pc.in "${PROJECT_BINARY_DIR}/evenkeel.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/evenkeel.pc" DESTINATION "${evenkeel_pkgconfig_dir}")

# `cpack` in the build folder makes a .deb and an archive.
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME evenkeel)
set(CPACK_PACKAGE_VENDOR "The evenkeel authors")
set(CPACK_PACKAGE_CONTACT "The evenkeel authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_PACKAGE_FILE_NAME "evenkeel-${PROJECT_VERSION}")
set(CPACK_ARCHIVE_FILE_EXTENSION .tar.gz)
set(CPACK_DEBIAN_PACKAGE_NAME libevenkeel-dev)
set(CPACK_DEBIAN_FILE_NAME "libevenkeel-dev_${PROJECT_VERSION}_all.deb")
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "cmake (>= 3.25), g++ | clang")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "Header-only templates for LibTorch: Admin's rescaled shortcuts, T-Fixup's\ninitialisation and kin, and a measure of a model's output change.\nLibTorch itself comes from pip or from its own archive.")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/libevenkeel-dev" RENAME copyright)
include(CPack)
