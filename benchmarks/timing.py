"""Timing that survives a machine whose speed drifts: subjects in turns, medians with intervals.

Two libraries are never timed one after the other. Each round runs every subject once, in an order
that turns around from round to round, and a ratio is formed inside a round; so a slow minute
slows both sides. The first round warms up and is not counted.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MIN_ROUNDS = 7


@dataclass(frozen=True)
class Samples:
    """Measurements of one quantity, one a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        return (ordered[middle - 1] + ordered[middle]) / 2

    @property
    def interval(self) -> tuple[float, float]:
        """An interval that holds the true median with at least 95 % confidence.

        From order statistics, so free of assumptions; with fewer than six values, where no such
        interval exists, the whole range.
        """
        ordered = sorted(self.values)
        n = len(ordered)
        below, cut = 0.0, 0
        for i in range(n // 2):
            below += math.comb(n, i) / 2**n
            if below > 0.025:
                break
            cut = i
        return ordered[cut], ordered[n - 1 - cut]

    def map(self, function: Callable[[float], float]) -> Samples:
        return Samples(tuple(function(value) for value in self.values))

    def over(self, other: Samples) -> Samples:
        """Ratios, round by round."""
        return Samples(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call took."""
    start = clock()
    action()
    return clock() - start


def interleave(
    subjects: Mapping[str, Callable[[], float]], rounds: int = MIN_ROUNDS, warm_up: bool = True
) -> dict[str, Samples]:
    """Run every subject once a round, in turns. A subject returns its own measurement."""
    names = list(subjects)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            value = subjects[name]()
            if number >= 0:
                taken[name].append(value)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def verdict(ratio: Samples) -> str:
    """What a ratio of rates says: "faster", "slower", or "tie" where its interval holds 1."""
    low, high = ratio.interval
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "tie"


def _tie_to(processors: set[int]) -> None:
    """Tie every thread of this process, and those they start."""
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.exists() else [0]
    for thread in threads:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(thread, processors)


@contextmanager
def pinned(threads: int = 1) -> Iterator[list[int]]:
    """Tie this process, with all its threads and those it starts meanwhile, to as many processors.

    The last ones are taken: interrupts mostly go to the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[-threads:]
    _tie_to(set(chosen))
    try:
        yield chosen
    finally:
        _tie_to(allowed)
