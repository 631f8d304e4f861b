"""Timing that survives a machine whose speed drifts: subjects in turns, medians with intervals.

Two libraries are never timed one after the other. Each round runs every subject once, in an order
that turns around from round to round, and a ratio is formed inside a round; so a slow minute
slows both sides. The first round warms up and is not counted.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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


def seconds(action: Callable[[], object]) -> float:
    """How long one call took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


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


@contextmanager
def pinned(threads: int = 1) -> Iterator[list[int]]:
    """Tie this process, and the threads it starts meanwhile, to as many processors.

    The last ones are taken: interrupts mostly go to the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[-threads:]
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)


def interpolate(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """The rate at a target recall from `(recall, rate)` points; its logarithm is taken as linear.

    Only points on the Pareto front count. None when the target lies beyond the best recall; when
    every point is above the target the rate of the fastest is returned, which understates.
    """
    front: list[tuple[float, float]] = []
    for recall, rate in sorted(points, key=lambda point: (-point[1], -point[0])):
        if not front or recall > front[-1][0]:
            front.append((recall, rate))
    above = next((i for i, (recall, _) in enumerate(front) if recall >= target), None)
    if above is None:
        return None
    if above == 0:
        return front[0][1]
    (low, fast), (high, slow) = front[above - 1], front[above]
    share = (target - low) / (high - low)
    return math.exp(math.log(fast) + share * (math.log(slow) - math.log(fast)))
