# srvdb._core: cpp/bindings/*.cpp over the core. pybind11 comes from the Python environment.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT DEFINED pybind11_DIR)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
    OUTPUT_VARIABLE pybind11_DIR
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
  )
endif()
find_package(pybind11 2.13 CONFIG REQUIRED)

file(GLOB binding_sources CONFIGURE_DEPENDS "cpp/bindings/*.cpp")
if(NOT binding_sources)
  message(STATUS "cpp/bindings is empty: no extension module")
  return()
endif()

pybind11_add_module(srvdb_python MODULE NO_EXTRAS ${binding_sources})
set_target_properties(srvdb_python PROPERTIES OUTPUT_NAME _core)
target_compile_definitions(srvdb_python PRIVATE SRVDB_VERSION="${PROJECT_VERSION}")
target_link_libraries(srvdb_python PRIVATE srvdb_core srvdb_flags srvdb_warnings)
if(NOT APPLE)
  set(exports "${PROJECT_SOURCE_DIR}/cmake/exports.map")
  target_link_options(
    srvdb_python PRIVATE "LINKER:--version-script=${exports}" LINKER:--gc-sections
  )
  set_target_properties(srvdb_python PROPERTIES LINK_DEPENDS "${exports}")
endif()
install(TARGETS srvdb_python LIBRARY DESTINATION srvdb COMPONENT python)
