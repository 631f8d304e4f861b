"""The streaming read rate of one thread: plain loops, compiled for this processor when needed.

Several loops (front to back, four places at a time, with software prefetch) over memory that the
kernel backs with huge pages where it can: whichever is fastest here is the rate, so that a scan
is held against a strong one.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SOURCE = Path(__file__).with_name("streaming.c")


class Streamer:
    """Reads an array once from end to end. Raises FileNotFoundError without a C compiler."""

    def __init__(self, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        library = cache / "streaming.so"
        compiler = os.environ.get("CC", "cc")
        options = ["-O3", "-march=native", "-mprefer-vector-width=512", "-shared", "-fPIC"]
        command = [compiler, *options, str(_SOURCE), "-o", str(library)]
        if subprocess.run(command, capture_output=True).returncode:
            command.remove("-mprefer-vector-width=512")  # not known on every architecture
            subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(library))
        self._loops: list[Any] = [
            loaded.stream_read,
            loaded.stream_read_quarters,
            loaded.stream_read_prefetching,
        ]
        for loop in self._loops:
            loop.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
            loop.restype = ctypes.c_uint64

    def loops(self) -> int:
        return len(self._loops)

    def read(self, array: NDArray[np.generic], loop: int) -> int:
        """Reads all of the array with one of the loops; returns the bytes read."""
        words = array.nbytes // 8
        self._loops[loop](array.ctypes.data, words)
        return words * 8
