"""Benchmarks of srvdb against plain hardware rates and other libraries; see README.md."""

import os

# Before any library starts its threads: a pool of them on one processor would wait on itself, and
# the library that brought it would look slower than it is.
for _pool in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_pool}_NUM_THREADS", "1")
