#!/bin/sh
# Builds the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer, then with
# ThreadSanitizer, and runs them.
#
# Usage: sanitize.sh [address,undefined] [thread]   (default: both)
set -eu
cd "$(dirname "$0")/.."
venv=$(cd "${VENV:-.venv}" && pwd)
build=${BUILD:-build}
jobs=${JOBS:-2}
[ $# -gt 0 ] || set -- address,undefined thread

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
# Some tests fork and go on in the child, threads included.
export TSAN_OPTIONS=second_deadlock_stack=1:die_after_fork=0
for sanitizer in "$@"; do
  folder="$build/sanitize-$(echo "$sanitizer" | tr , -)"
  cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSRVDB_SANITIZE="$sanitizer" \
    -DPython_EXECUTABLE="$venv/bin/python" >/dev/null
  ninja -C "$folder" -j "$jobs" --quiet
  echo "== $sanitizer"
  ctest --test-dir "$folder" --output-on-failure
done
