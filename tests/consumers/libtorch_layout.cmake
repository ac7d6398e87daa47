# Lays out the LibTorch of pip's CUDA package as other machines have it, in symbolic links:
#   cpu_part  pip's package with no more of NVIDIA's libraries than its CPU part is linked with
#   zip       one folder with all libraries, no Python package and no CUDA headers, as the zip archive has it

function(_link_all folder)  # _link_all(FOLDER FILE...)
  file(MAKE_DIRECTORY "${folder}")
  foreach(file IN LISTS ARGN)
    get_filename_component(name "${file}" NAME)
    file(CREATE_LINK "${file}" "${folder}/${name}" SYMBOLIC)
  endforeach()
endfunction()

# libtorch_layout(LAYOUT TORCH_FOLDER WORK_FOLDER OUT): OUT is what to put on CMAKE_PREFIX_PATH.
function(libtorch_layout layout torch work out)
  file(GLOB nvidia_folders LIST_DIRECTORIES true "${torch}/../nvidia/*/lib")
  if(layout STREQUAL "cpu_part")
    file(GLOB libraries "${torch}/lib/*")  # linked one by one: a linked folder would find the libraries beside it
    _link_all("${work}/torch/lib" ${libraries})
    _link_all("${work}/torch" "${torch}/include" "${torch}/share")
    foreach(folder IN LISTS nvidia_folders)
      get_filename_component(package "${folder}" DIRECTORY)
      get_filename_component(package "${package}" NAME)
      file(GLOB files "${folder}/libcudart*" "${folder}/libcupti*")
      _link_all("${work}/nvidia/${package}/lib" ${files})
    endforeach()
    set(${out} "${work}/torch" PARENT_SCOPE)
  elseif(layout STREQUAL "zip")
    file(GLOB libraries "${torch}/lib/*")
    foreach(folder IN LISTS nvidia_folders)
      file(GLOB files "${folder}/*.so*")
      list(APPEND libraries ${files})
    endforeach()
    _link_all("${work}/lib" ${libraries})
    _link_all("${work}" "${torch}/include" "${torch}/share")
    set(${out} "${work}" PARENT_SCOPE)
  else()
    message(FATAL_ERROR "expected a layout cpu_part or zip, but got ${layout}")
  endif()
endfunction()
