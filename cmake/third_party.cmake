# The outside libraries of the core, as targets: srvdb_xsimd, srvdb_eigen, srvdb_robin_map,
# srvdb_lmdb, srvdb_simdjson, srvdb_re2, srvdb_zstd. An installed package is taken where it serves
# (Eigen, robin-map, a new enough xsimd); LMDB, simdjson, RE2 and zstd are always compiled in from
# pinned sources. Licences: NOTICE.
#
# -DSRVDB_FETCH_ALL=ON ignores what is installed.

include(fetch_archive)
option(SRVDB_FETCH_ALL "Fetch pinned third-party sources even where a package is installed" OFF)

function(srvdb_header_library target)
  add_library(${target} INTERFACE)
  target_include_directories(${target} SYSTEM INTERFACE ${ARGN})
endfunction()

# ---- xsimd (BSD-3-Clause): SIMD wrappers, simd layer only; 13 or newer ---------------------------

set(xsimd_include "")
if(NOT SRVDB_FETCH_ALL)
  find_package(xsimd 13 CONFIG QUIET)
  if(xsimd_FOUND)
    get_target_property(xsimd_include xsimd INTERFACE_INCLUDE_DIRECTORIES)
  endif()
endif()
if(NOT xsimd_include)
  srvdb_fetch_archive(
    pythran_dir
    REQUIREMENT pythran==0.19.0
    ARCHIVE pythran-0.19.0-py3-none-any.whl
    SHA256 42ab2039b4eaec01084e92a2721a474e893047ba5ec87b14d45ee077ac883d08
    PATTERNS "pythran/xsimd/*"
  )
  set(xsimd_include "${pythran_dir}/pythran")
endif()
srvdb_header_library(srvdb_xsimd ${xsimd_include})

# ---- Eigen (MPL-2.0): linear algebra for training, quant layer only ------------------------------

if(NOT SRVDB_FETCH_ALL)
  find_package(Eigen3 3.4 CONFIG QUIET)
endif()
if(TARGET Eigen3::Eigen)
  get_target_property(eigen_include Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
else()
  srvdb_fetch_archive(
    eigen_dir
    REQUIREMENT cmeel-eigen==3.4.1
    ARCHIVE cmeel_eigen-3.4.1-0-py3-none-any.whl
    SHA256 0ccd7b73fe8a72e2729784253c982e75d1790e0a8c71f302eb5a1fb1dd3a8a90
    PATTERNS "cmeel.prefix/include/eigen3/Eigen/*"
  )
  set(eigen_include "${eigen_dir}/cmeel.prefix/include/eigen3")
endif()
srvdb_header_library(srvdb_eigen ${eigen_include})
target_compile_definitions(srvdb_eigen INTERFACE EIGEN_MPL2_ONLY)

# ---- robin-map (MIT): the id map of the append buffer, database layer only -----------------------

if(NOT SRVDB_FETCH_ALL)
  find_package(tsl-robin-map CONFIG QUIET)
endif()
if(TARGET tsl::robin_map)
  get_target_property(robin_map_include tsl::robin_map INTERFACE_INCLUDE_DIRECTORIES)
else()
  srvdb_fetch_archive(
    nanobind_dir
    REQUIREMENT nanobind==3.1.0
    ARCHIVE nanobind-3.1.0-py3-none-any.whl
    SHA256 96984dbe8154ffb86e653b1b60aaeed6985c710c5e75ad0279eb87943c66292d
    PATTERNS "nanobind/ext/robin_map/*"
  )
  set(robin_map_include "${nanobind_dir}/nanobind/ext/robin_map/include")
endif()
srvdb_header_library(srvdb_robin_map ${robin_map_include})

# ---- simdjson (Apache-2.0): reading JSON, one file of the filter layer -------------------------

srvdb_fetch_archive(
  pysimdjson_dir
  REQUIREMENT pysimdjson==7.0.2
  ARCHIVE pysimdjson-7.0.2.tar.gz
  SHA256 44cf276e48912a3b9c7ca362c14da8420a7ac15a9f1a16ec95becff86db3904a
  PATTERNS "*/simdjson/simdjson.h" "*/simdjson/simdjson.cpp" "*/LICENSE"
)
set(simdjson_dir "${pysimdjson_dir}/pysimdjson-7.0.2/simdjson")
add_library(srvdb_simdjson STATIC "${simdjson_dir}/simdjson.cpp")
target_include_directories(srvdb_simdjson SYSTEM PUBLIC "${simdjson_dir}")
target_compile_options(srvdb_simdjson PRIVATE -w)

# ---- RE2 (BSD-3-Clause): regular expressions in filters, one file of the filter layer -----------
# An RE2 that needs no Abseil, in the archive of a package that brings its sources along.

srvdb_fetch_archive(
  grpcio_dir
  REQUIREMENT grpcio==1.48.2
  ARCHIVE grpcio-1.48.2.tar.gz
  SHA256 90e5da224c6b9b23658adf6f36de6f435ef7dbcc9c5c12330314d70d6f8de1f7
  PATTERNS "*/third_party/re2/re2/*.h" "*/third_party/re2/re2/*.cc" "*/third_party/re2/util/*"
)
set(re2_dir "${grpcio_dir}/grpcio-1.48.2/third_party/re2")
set(re2_sources util/rune.cc util/strutil.cc)
foreach(part bitstate compile dfa filtered_re2 mimics_pcre nfa onepass parse perl_groups prefilter
        prefilter_tree prog re2 regexp set simplify stringpiece tostring unicode_casefold
        unicode_groups)
  list(APPEND re2_sources "re2/${part}.cc")
endforeach()
list(TRANSFORM re2_sources PREPEND "${re2_dir}/")
add_library(srvdb_re2 STATIC ${re2_sources})
target_include_directories(srvdb_re2 SYSTEM PUBLIC "${re2_dir}")
target_compile_options(srvdb_re2 PRIVATE -w)
target_link_libraries(srvdb_re2 PUBLIC Threads::Threads)

# ---- zstd (BSD-3-Clause): backups in one file, one file of the storage layer --------------------

srvdb_fetch_archive(
  zstandard_dir
  REQUIREMENT zstandard==0.25.0
  ARCHIVE zstandard-0.25.0.tar.gz
  SHA256 7713e1179d162cf5c7906da876ec2ccb9c3a9dcbdffef0cc7f70c3667a205f0b
  PATTERNS "*/zstd/zstd.c" "*/zstd/*.h" "*/zstd/LICENSE"
)
set(zstd_dir "${zstandard_dir}/zstandard-0.25.0/zstd")
add_library(srvdb_zstd STATIC "${zstd_dir}/zstd.c")
target_include_directories(srvdb_zstd SYSTEM PUBLIC "${zstd_dir}")
target_compile_definitions(
  srvdb_zstd PRIVATE ZSTDLIB_VISIBLE= ZSTDERRORLIB_VISIBLE= ZDICTLIB_VISIBLE=
)
target_compile_options(srvdb_zstd PRIVATE -w -ffunction-sections)
target_link_libraries(srvdb_zstd PUBLIC Threads::Threads)

# ---- LMDB (OpenLDAP Public License): metadata, one file of the storage layer ---------------------

include(lmdb)
