#!/bin/sh
# Builds in build/ and installs the package into the virtual environment.
#
# Usage: build.sh            the extension module and the package
#        build.sh tests      and the C++ tests
#        build.sh benchmarks and the C++ benchmarks
#
# One CMake build folder serves everything: pip drives it for the package, ninja for the rest. pip
# runs only when something that the package is made of has changed.
set -eu
cd "$(dirname "$0")/.."
venv=$(cd "${VENV:-.venv}" && pwd)
build=${BUILD:-build}
mkdir -p "$build"

inputs=$(find CMakeLists.txt cmake cpp python pyproject.toml README.md LICENSE NOTICE \
  scripts/build.sh \
  -type f ! -name '*.pyc' | LC_ALL=C sort)
state=$({
  echo "$venv"
  # shellcheck disable=SC2086 # a list of words
  cat $inputs
  echo "$inputs"
} | cksum)
if [ "$state" != "$(cat "$build/.installed" 2>/dev/null)" ]; then
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation \
    --config-settings=build-dir="$build" \
    --config-settings=cmake.define.SRVDB_BUILD_TESTS=ON \
    --config-settings=cmake.define.SRVDB_BUILD_BENCHMARKS="${SRVDB_BUILD_BENCHMARKS:-OFF}" \
    --config-settings=cmake.define.SRVDB_WERROR=ON \
    .
  printf '%s\n' "$state" >"$build/.installed"
fi
case ${1:-} in
  tests) ninja -C "$build" --quiet all ;;
  benchmarks) ninja -C "$build" --quiet srvdb_benchmarks ;;
esac
