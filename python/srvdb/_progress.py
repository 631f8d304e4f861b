"""A progress bar for long calls: in a terminal, in Jupyter, or as a few lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

Report: TypeAlias = Callable[[int, "int | None"], object]

_WIDTH = 30
_REDRAW_SECONDS = 0.1
_LOG_SECONDS = 5.0


class Progress:
    """Draws on stderr how many rows are done; a context manager.

    Parameters
    ----------
    wanted : bool or callable
        False draws nothing; True draws a bar; a callable gets ``(done, total)``, total None when it
        is not known.
    label : str
        What is being done.
    total : int, optional
        Rows in all, when known.
    """

    def __init__(self, wanted: bool | Report, label: str, total: int | None = None) -> None:
        self._report = wanted if callable(wanted) else None
        self._draws = wanted is True
        self._label = label
        self._total = total
        self._done = 0
        self._start = time.monotonic()
        self._drawn = self._start
        self._cell = _notebook_cell() if self._draws else None
        self._terminal = self._draws and self._cell is None and sys.stderr.isatty()

    @property
    def wanted(self) -> bool:
        """Whether anybody looks."""
        return self._draws or self._report is not None

    def update(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` rows are done."""
        self._done = done
        self._total = self._total if total is None else total
        if self._report is not None:
            self._report(done, self._total)
        if self._draws:
            now = time.monotonic()
            wait = _REDRAW_SECONDS if self._terminal or self._cell is not None else _LOG_SECONDS
            if now - self._drawn >= wait:
                self._drawn = now
                self._draw()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._draws:
            self._draw(last=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self._start
        rate = self._done / seconds if seconds > 0 else 0.0
        speed = f"{rate:,.0f} rows/s, {seconds:.1f} s"
        if not self._total:
            return f"{self._label}: {self._done:,} rows, {speed}"
        share = min(1.0, self._done / self._total)
        full = int(share * _WIDTH)
        bar = "█" * full + "░" * (_WIDTH - full)
        return f"{self._label} {bar} {share:4.0%} {self._done:,}/{self._total:,}, {speed}"

    def _draw(self, last: bool = False) -> None:
        if self._cell is not None:
            self._cell(self._line())
        elif self._terminal:
            sys.stderr.write("\r\x1b[K" + self._line() + ("\n" if last else ""))
            sys.stderr.flush()
        else:
            sys.stderr.write(self._line() + "\n")


def _notebook_cell() -> Callable[[str], Any] | None:
    """Return a function that shows a line in the running notebook's cell, or None elsewhere."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    handle: Any = ipython.display.display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: handle.update({"text/plain": line}, raw=True)
