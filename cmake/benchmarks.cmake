# srvdb_benchmarks: benchmarks/cpp/*.cpp over the core and Google Benchmark (the installed
# package, else a pinned source checked by hash).

if(NOT SRVDB_FETCH_ALL)
  find_package(benchmark QUIET)
endif()
if(NOT TARGET benchmark::benchmark)
  include(FetchContent)
  FetchContent_Declare(
    benchmark
    URL https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz
    URL_HASH SHA256=6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7
  )
  set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)
  set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
  FetchContent_MakeAvailable(benchmark)
endif()

file(GLOB benchmark_sources CONFIGURE_DEPENDS "benchmarks/cpp/*.cpp")
# Those that are programs of their own:
list(FILTER benchmark_sources EXCLUDE REGEX "/(graph|filter|column|commit|exact)_bench\\.cpp$")

add_executable(srvdb_graph_bench benchmarks/cpp/graph_bench.cpp)
target_link_libraries(srvdb_graph_bench PRIVATE srvdb_index srvdb_flags srvdb_warnings)
add_executable(srvdb_filter_bench benchmarks/cpp/filter_bench.cpp)
target_link_libraries(srvdb_filter_bench PRIVATE srvdb_index srvdb_flags srvdb_warnings)
add_executable(srvdb_column_bench benchmarks/cpp/column_bench.cpp)
target_link_libraries(srvdb_column_bench PRIVATE srvdb_filter srvdb_flags srvdb_warnings)
add_executable(srvdb_commit_bench benchmarks/cpp/commit_bench.cpp)
target_link_libraries(srvdb_commit_bench PRIVATE srvdb_core srvdb_flags srvdb_warnings)
add_executable(srvdb_exact_bench benchmarks/cpp/exact_bench.cpp)
target_link_libraries(srvdb_exact_bench PRIVATE srvdb_index srvdb_flags srvdb_warnings)
if(benchmark_sources)
  add_executable(srvdb_benchmarks ${benchmark_sources})
  target_link_libraries(
    srvdb_benchmarks
    PRIVATE srvdb_core srvdb_flags srvdb_warnings benchmark::benchmark benchmark::benchmark_main
  )
endif()
