# One GoogleTest executable for each layer that has tests: tests/cpp/<layer>/*_test.cpp make
# srvdb_<layer>_tests, linked with that layer and those below it and registered with ctest under
# the same name.

include(googletest)

set(test_timeout_s 600)
if(SRVDB_SANITIZE)
  set(test_timeout_s 2400) # ten times as slow, and not everyone's machine is idle
endif()

set(also_simd srvdb_distance) # kernels are held to the error margins that distance proves

foreach(layer base simd distance quant index storage filter database)
  file(GLOB test_sources CONFIGURE_DEPENDS "tests/cpp/${layer}/*_test.cpp")
  file(GLOB helper_sources CONFIGURE_DEPENDS "tests/cpp/support/*.cpp")
  if(NOT test_sources)
    continue()
  endif()
  set(target srvdb_${layer}_tests)
  add_executable(${target} ${test_sources} ${helper_sources})
  target_include_directories(${target} PRIVATE tests/cpp)
  target_link_libraries(
    ${target}
    PRIVATE srvdb_${layer} ${also_${layer}} srvdb_flags srvdb_warnings
            GTest::gtest GTest::gtest_main
  )
  add_test(NAME ${target} COMMAND ${target} --gtest_brief=1)
  set_tests_properties(${target} PROPERTIES TIMEOUT ${test_timeout_s})
endforeach()
# ThreadSanitizer takes a thread of a forked child for one that its parent had before, at the same
# address: these tests fork before their process has had any.
if(SRVDB_SANITIZE STREQUAL "thread")
  set_tests_properties(srvdb_database_tests PROPERTIES ENVIRONMENT "GTEST_FILTER=-RefreshTest.*")
  add_test(NAME srvdb_database_refresh_tests COMMAND srvdb_database_tests --gtest_brief=1)
  set_tests_properties(
    srvdb_database_refresh_tests PROPERTIES TIMEOUT ${test_timeout_s} ENVIRONMENT
                                            "GTEST_FILTER=RefreshTest.*"
  )
endif()

# srvdb_soak: the long tests (tests/README.md); ctest runs a short form of each.
file(GLOB soak_sources CONFIGURE_DEPENDS "tests/cpp/soak/*.cpp")
add_executable(srvdb_soak ${soak_sources})
target_include_directories(srvdb_soak PRIVATE tests/cpp)
target_link_libraries(srvdb_soak PRIVATE srvdb_core srvdb_flags srvdb_warnings)
foreach(harness crash fault mutate kill)
  add_test(NAME srvdb_soak_${harness} COMMAND srvdb_soak --only ${harness} --seconds 6)
  set_tests_properties(srvdb_soak_${harness} PROPERTIES TIMEOUT 120)
endforeach()
