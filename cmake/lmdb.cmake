# srvdb_lmdb: LMDB 0.9.36 with the fixes for hostile files that its Python packaging carries,
# compiled in, static, hidden. Our own file layer takes over its I/O: cpp/srvdb/storage/lmdb_io.h, a
# C header, is included before everything else in LMDB's sources, and lmdb_srvdb.patch adds the
# places where pages are checked.

set(lmdb_patches
    env-copy-txn
    cursor-next-prev-uninitialized
    cve-2019-16224-validate-db-flags
    cve-2019-16225-reject-dirty-pages
    cve-2019-16226-validate-node-del-size
    cve-2019-16227-guard-xcursor-null
    cve-2019-16228-validate-psize
    validate-page-bounds
    validate-node-read-size
    validate-subpage-bounds
    validate-xcursor-nodedsz
    validate-leaf2-keysize
    guard-xcursor-null-d3d4
    validate-nodedsz-page-split
    validate-node-shrink-delta
    validate-overflow-pages
    validate-nodedsz-cursor-put
    validate-md-depth
    validate-md-root
    win32-sparse-file
    fix-large-write
    fix-overflow-page-size-mul
    validate-md-pad
    validate-ovpage-free
    validate-freedb-record
)

srvdb_fetch_archive(
  pylmdb_dir
  REQUIREMENT lmdb==3.0.0
  ARCHIVE lmdb-3.0.0.tar.gz
  SHA256 06dda0723545e14d56ac7dcd6f582d9922c2ed5e16f1c3f8d0e670a96ec2ee65
  PATTERNS "*/lib/*.c" "*/lib/*.h" "*/lib/py-lmdb/*.patch" "lmdb-3.0.0/LICENSE"
)
set(lmdb_archive "${pylmdb_dir}/lmdb-3.0.0/lib")
set(lmdb_dir "${PROJECT_BINARY_DIR}/lmdb")

list(TRANSFORM lmdb_patches PREPEND "${lmdb_archive}/py-lmdb/")
list(TRANSFORM lmdb_patches APPEND ".patch")
list(APPEND lmdb_patches "${CMAKE_CURRENT_LIST_DIR}/lmdb_srvdb.patch")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${lmdb_patches})
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND
    "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/apply_patches.py"
    --output "${lmdb_dir}"
    --sources "${lmdb_archive}/mdb.c" "${lmdb_archive}/midl.c"
              "${lmdb_archive}/lmdb.h" "${lmdb_archive}/midl.h"
    --patches ${lmdb_patches}
  RESULT_VARIABLE failed
)
if(failed)
  message(FATAL_ERROR "Cannot patch LMDB")
endif()

add_library(srvdb_lmdb STATIC "${lmdb_dir}/mdb.c" "${lmdb_dir}/midl.c")
target_include_directories(srvdb_lmdb SYSTEM PUBLIC "${lmdb_dir}")
set(lmdb_io_header "${PROJECT_SOURCE_DIR}/cpp/srvdb/storage/lmdb_io.h")
# Assertions stay on, and the handler's exception leaves LMDB: a state that LMDB cannot go on from
# is an error of the file, not the end of the process.
target_compile_options(
  srvdb_lmdb PRIVATE -w -fexceptions -UNDEBUG "SHELL:-include ${lmdb_io_header}"
)
set_property(
  SOURCE "${lmdb_dir}/mdb.c" "${lmdb_dir}/midl.c"
  APPEND PROPERTY OBJECT_DEPENDS "${lmdb_io_header}"
)
target_link_libraries(srvdb_lmdb PUBLIC Threads::Threads)
