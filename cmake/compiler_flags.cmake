# How our own code is compiled (srvdb_flags), what it is warned about (srvdb_warnings), and the
# sanitizers, which go to third-party C and C++ as well.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Scores must have the same bits everywhere, so the compiler may never fuse a multiply and an add.
add_library(srvdb_flags INTERFACE)
target_compile_options(srvdb_flags INTERFACE -ffp-contract=off)

add_library(srvdb_warnings INTERFACE)
target_compile_options(srvdb_warnings INTERFACE -Wall -Wextra -Wconversion)
if(SRVDB_WERROR)
  target_compile_options(srvdb_warnings INTERFACE -Werror)
endif()

if(SRVDB_PLANTED_BUGS)
  add_compile_definitions(SRVDB_PLANTED_BUGS)
endif()

if(SRVDB_SANITIZE)
  add_compile_options(
    -fsanitize=${SRVDB_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g
    $<$<COMPILE_LANGUAGE:CXX>:-D_GLIBCXX_ASSERTIONS>
  )
  add_link_options(-fsanitize=${SRVDB_SANITIZE})
endif()
