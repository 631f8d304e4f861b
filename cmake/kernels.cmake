# One object library for each kernel translation unit, each with the flags of its instruction set
# and nothing else. SRVDB_KERNEL_OBJECTS holds their objects; the objects stay apart, so that a
# test can read their symbols (build folder, CMakeFiles/srvdb_kernels_<set>.dir).

set(SRVDB_KERNEL_OBJECTS "")

function(srvdb_add_kernels instruction_set)
  set(source "${PROJECT_SOURCE_DIR}/cpp/srvdb/simd/kernels_${instruction_set}.cpp")
  if(NOT EXISTS "${source}")
    return()
  endif()
  set(target srvdb_kernels_${instruction_set})
  add_library(${target} OBJECT "${source}")
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/cpp")
  # Always optimised, so that everything is inlined and no weak symbols are left; no exceptions, so
  # that there is no weak reference to their run-time support either.
  target_compile_options(${target} PRIVATE -O3 -fno-exceptions ${ARGN})
  target_link_libraries(${target} PRIVATE srvdb_flags srvdb_warnings srvdb_xsimd)
  set(
    SRVDB_KERNEL_OBJECTS ${SRVDB_KERNEL_OBJECTS} $<TARGET_OBJECTS:${target}>
    PARENT_SCOPE
  )
endfunction()

set(avx2_flags -mavx2 -mfma -mf16c)
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl)

srvdb_add_kernels(baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  srvdb_add_kernels(avx2 ${avx2_flags})
  srvdb_add_kernels(avx512 ${avx512_flags})
  srvdb_add_kernels(avx512vnni ${avx512_flags} -mavx512vnni)
  srvdb_add_kernels(amxint8 ${avx512_flags} -mavx512vnni -mamx-tile -mamx-int8)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  srvdb_add_kernels(neon)
endif()
