# Targets of our own code: warnings are errors, includes start at the root.

set(FAULTLINE_WARNINGS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
                       -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 warns of overlapping copies inside std::string at -O3 (GCC bug 105651).
  list(APPEND FAULTLINE_WARNINGS -Wno-restrict)
  # It does not see through what the sanitizers insert; the other presets warn.
  if(FAULTLINE_SANITIZER)
    list(APPEND FAULTLINE_WARNINGS -Wno-maybe-uninitialized)
  endif()
endif()

# faultline_library(NAME SOURCES file... DEPS target... [PRIVATE_DEPS target...])
# One static library for each module. It links what it may include and nothing
# else, so that a forbidden dependency fails to link.
function(faultline_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${FAULTLINE_WARNINGS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# faultline_executable(NAME SOURCES file... DEPS target...)
function(faultline_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${FAULTLINE_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  if(FAULTLINE_SANITIZER STREQUAL "thread")
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support/tsan/absl_mutex.cc)
    target_link_libraries(${name} PRIVATE absl::synchronization ${CMAKE_DL_LIBS})
  endif()
endfunction()
