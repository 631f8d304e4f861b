"""What a process holds in memory, split into its own (anonymous) and mapped files. Linux only."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Resident:
    """Bytes resident now: `anonymous` belongs to the process, `file` to the page cache."""

    anonymous: int
    file: int


def _fields(path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in Path(path).read_text().splitlines():
        words = line.split()
        if len(words) >= 3 and words[-1] == "kB":
            found[words[0].rstrip(":")] = int(words[1]) * 1024
    return found


def mapped_files(directory: Path) -> dict[str, int]:
    """Resident bytes of each file in a directory that this process has mapped, by file name."""
    found: dict[str, int] = {}
    name = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if "-" in words[0] and len(words[0]) > 16:  # the head of a mapping
            path = Path(words[5]) if len(words) == 6 else Path()
            name = path.name if directory.resolve() in path.parents else ""
        elif name and words[0] == "Rss:":
            found[name] = found.get(name, 0) + int(words[1]) * 1024
    return found


def resident() -> Resident:
    """An exact look: walks the page tables, which takes milliseconds where much is mapped."""
    fields = _fields("/proc/self/smaps_rollup")
    return Resident(fields["Anonymous"], fields["Rss"] - fields["Anonymous"])


def anonymous_now() -> int:
    """A cheap look, a few pages off."""
    return _fields("/proc/self/status")["RssAnon"]


class PeakAnonymous:
    """The highest anonymous memory inside a `with` block, sampled from a thread."""

    def __init__(self, every_s: float = 0.005) -> None:
        self.start = 0
        self.peak = 0
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakAnonymous:
        self.start = self.peak = anonymous_now()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, anonymous_now())

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.peak = max(self.peak, anonymous_now())


class PeakResident:
    """How much a `with` block adds to the resident memory at its highest, mapped files included."""

    def __init__(self) -> None:
        self.grown = 0
        self._before = 0

    def __enter__(self) -> PeakResident:
        # 5 sets the highest mark back to what is resident now; refused on some systems.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _highest()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.grown = _highest() - self._before


def _highest() -> int:
    path = Path("/proc/self/status")
    return _fields(str(path))["VmHWM"] if path.exists() else 0


def forget_files(directory: Path) -> None:
    """Write a directory's files to disk and drop them from the page cache; needs no root."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def warm_files(directory: Path) -> None:
    """Read a directory's files once, so that the page cache holds them."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def size_on_disk(directory: Path) -> int:
    """Bytes of disk blocks that a directory's files take."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
