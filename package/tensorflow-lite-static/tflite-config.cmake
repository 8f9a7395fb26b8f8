# Use: find_package(tflite CONFIG REQUIRED PATHS "${TFLITE_PREFIX}" NO_DEFAULT_PATH)
#      target_link_libraries(program PRIVATE tflite::tflite)
if(NOT TARGET tflite::tflite)
  get_filename_component(_tflite_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  add_library(tflite::tflite STATIC IMPORTED)
  set_target_properties(tflite::tflite PROPERTIES
    IMPORTED_LOCATION "${_tflite_prefix}/lib/libtflite-static.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_tflite_prefix}/include"
    INTERFACE_LINK_LIBRARIES "stdc++;pthread;dl;m")
endif()
