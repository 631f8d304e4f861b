# srvdb_fetch_archive(): a third-party archive from the Python package index that pip is set up to
# use, pinned by version and by SHA-256, unpacked once.
#
# Archives and unpacked trees live in SRVDB_DEPS_DIR (default: .deps in the source tree, or the
# build folder when that cannot be written). What is there with the right hash is not fetched
# again, so a filled folder makes the build work offline. Several builds may share the folder: a
# lock guards it.

if(NOT SRVDB_DEPS_DIR)
  if(DEFINED ENV{SRVDB_DEPS_DIR})
    set(default_deps_dir "$ENV{SRVDB_DEPS_DIR}")
  else()
    set(default_deps_dir "${PROJECT_SOURCE_DIR}/.deps")
    execute_process(
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${default_deps_dir}"
      RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET
    )
    if(NOT failed)
      execute_process(
        COMMAND "${CMAKE_COMMAND}" -E touch "${default_deps_dir}/lock"
        RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET
      )
    endif()
    if(failed)
      set(default_deps_dir "${PROJECT_BINARY_DIR}/deps")
    endif()
  endif()
  set(SRVDB_DEPS_DIR "${default_deps_dir}" CACHE PATH "Fetched third-party archives" FORCE)
endif()

set(srvdb_pip_stub "${CMAKE_CURRENT_LIST_DIR}/pip_stub")

# True in `out` when the file exists and has the hash.
function(srvdb_file_matches file sha256 out)
  set(${out} OFF PARENT_SCOPE)
  if(EXISTS "${file}")
    file(SHA256 "${file}" actual)
    if(actual STREQUAL sha256)
      set(${out} ON PARENT_SCOPE)
    endif()
  endif()
endfunction()

function(srvdb_pip_download requirement sha256 archive)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  set(requirements "${PROJECT_BINARY_DIR}/${archive}.requirements.txt")
  file(WRITE "${requirements}" "${requirement} --hash=sha256:${sha256}\n")
  if(archive MATCHES "\\.whl$")
    set(kind --only-binary=:all:)
    set(python_path "$ENV{PYTHONPATH}")
  else()
    # pip asks even an archive that it only saves for its metadata; the stub answers in place of the
    # project's own build backend and what that would need.
    set(kind --no-binary=:all: --no-build-isolation --use-pep517)
    set(python_path "${srvdb_pip_stub}:$ENV{PYTHONPATH}")
  endif()
  message(STATUS "Fetching ${requirement}")
  execute_process(
    COMMAND
      "${CMAKE_COMMAND}" -E env "PYTHONPATH=${python_path}" "${Python_EXECUTABLE}" -m pip download
      --disable-pip-version-check --quiet --no-deps --ignore-requires-python
      --require-hashes ${kind}
      --dest "${SRVDB_DEPS_DIR}" --requirement "${requirements}"
    RESULT_VARIABLE failed
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
  )
  if(failed)
    message(
      FATAL_ERROR
        "Cannot fetch ${requirement} with '${Python_EXECUTABLE} -m pip download':\n${output}\n"
        "Without a network, put ${archive} (sha256 ${sha256}) into ${SRVDB_DEPS_DIR}."
    )
  endif()
endfunction()

# srvdb_fetch_archive(<out> REQUIREMENT <name==version> ARCHIVE <file> SHA256 <hash> PATTERNS
# <p>...)
#
# Sets <out> to the folder that holds the files of the archive that match the patterns.
function(srvdb_fetch_archive out)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "REQUIREMENT;ARCHIVE;SHA256" "PATTERNS")
  string(SUBSTRING "${arg_SHA256}" 0 12 short_hash)
  set(tree "${SRVDB_DEPS_DIR}/${arg_ARCHIVE}-${short_hash}")
  set(archive "${SRVDB_DEPS_DIR}/${arg_ARCHIVE}")
  set(${out} "${tree}" PARENT_SCOPE)

  file(MAKE_DIRECTORY "${SRVDB_DEPS_DIR}")
  file(LOCK "${SRVDB_DEPS_DIR}/lock" GUARD FUNCTION TIMEOUT 300)
  if(EXISTS "${tree}/.complete")
    return()
  endif()
  srvdb_file_matches("${archive}" "${arg_SHA256}" present)
  if(NOT present)
    file(REMOVE "${archive}")
    srvdb_pip_download("${arg_REQUIREMENT}" "${arg_SHA256}" "${arg_ARCHIVE}")
    srvdb_file_matches("${archive}" "${arg_SHA256}" present)
    if(NOT present)
      message(FATAL_ERROR "${archive} is not the archive with sha256 ${arg_SHA256}")
    endif()
  endif()
  file(REMOVE_RECURSE "${tree}")
  file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${tree}" PATTERNS ${arg_PATTERNS})
  file(TOUCH "${tree}/.complete")
endfunction()
