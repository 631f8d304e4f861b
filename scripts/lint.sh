#!/bin/sh
# Formatting, style, types, stubs, static analysis; changes nothing. Runs every check, then fails
# if one did. TIDY=no leaves out clang-tidy, which takes longer than all else.
set -u
cd "$(dirname "$0")/.."
venv=$(cd "${VENV:-.venv}" && pwd)
build=${BUILD:-build}
failed=""
run() {
  name=$1
  shift
  echo "== $name"
  "$@" || failed="$failed $name"
}

# shellcheck disable=SC2046 # lists of words
run ruff "$venv/bin/ruff" check .
run ruff-format "$venv/bin/ruff" format --check .
run mypy "$venv/bin/mypy"
run stubtest "$venv/bin/python" -m mypy.stubtest --concise srvdb._core \
  --allowlist tests/python/stubtest_allowlist.txt
run clang-format clang-format-14 --dry-run -Werror \
  $(find cpp tests/cpp benchmarks/cpp -name '*.h' -o -name '*.cpp' 2>/dev/null)
[ "${TIDY:-yes}" = no ] ||
  run clang-tidy "$venv/bin/python" scripts/tidy.py --build "$build" --jobs "${JOBS:-2}"

if [ -n "$failed" ]; then
  echo "lint failed:$failed" >&2
  exit 1
fi
echo "lint passed"
