#!/bin/sh
# Prepares this checkout: system packages, the virtual environment .venv, Python packages.
#
# Usage: bootstrap.sh <group>...   groups: build, demo, test, lint, bench (extras of pyproject.toml)
#
# What is there is left alone, so a second run takes a moment. Missing system packages are
# installed as root or through sudo; with neither, the script names them and stops. PYTHON chooses
# the interpreter (default python3), VENV the environment's folder.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${VENV:-.venv}

# ---- system packages -----------------------------------------------------------------------------

missing=""
need() { missing="$missing $1"; }
has() { command -v "$1" >/dev/null 2>&1; }
has_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }

has c++ || need g++
has cmake || need cmake
has ninja || need ninja-build
if ! has "$python"; then
  need python3
  need python3-venv
  need python3-dev
else
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    { echo "srvdb needs Python 3.10 or newer; $python is $("$python" -V)" >&2; exit 1; }
  version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  "$python" -c 'import ensurepip, venv' 2>/dev/null || need "$version-venv"
  "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    need "$version-dev"
fi
if has apt-get; then # elsewhere CMake fetches these
  has_header eigen3/Eigen/Core || need libeigen3-dev
  has_header tsl/robin_map.h || need robin-map-dev
  has_header gtest/gtest.h || need libgtest-dev # build.sh configures the tests for every target
  [ -e /etc/ssl/certs/ca-certificates.crt ] || need ca-certificates
fi
for group in "$@"; do
  case $group in
    bench) ! has apt-get || has_header benchmark/benchmark.h || need libbenchmark-dev ;;
    lint)
      has clang-format-14 || need clang-format-14
      has clang-tidy-14 || need clang-tidy-14
      ;;
  esac
done

if [ -n "$missing" ]; then
  if ! has apt-get; then
    echo "Please install (Debian's names):$missing" >&2
    exit 1
  elif [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root="sudo env"
  else
    echo "System packages are missing and neither root nor sudo is at hand. Please run as root:" >&2
    echo "  apt-get install$missing" >&2
    exit 1
  fi
  echo "Installing$missing"
  install="$as_root DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
  # shellcheck disable=SC2086 # lists of words
  $install $missing >/dev/null 2>&1 ||
    { $as_root apt-get update -qq && $install $missing >/dev/null; }
fi

# ---- Python packages -----------------------------------------------------------------------------

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi
for group in build "$@"; do
  wanted=$("$venv/bin/python" scripts/requirements.py "$group")
  stamp="$venv/.installed-$group"
  if [ "$wanted" != "$(cat "$stamp" 2>/dev/null)" ]; then
    echo "Installing Python packages: $group"
    printf '%s\n' "$wanted" >"$venv/requirements-$group.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --requirement "$venv/requirements-$group.txt"
    printf '%s\n' "$wanted" >"$stamp"
  fi
done
