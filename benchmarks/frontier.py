"""Recall against speed: which points matter, and what lies between them.

A point is `(recall, rate)`; higher is better in both. Library and settings are compared on the
Pareto front alone: a point that another one beats in both says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Point = tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both, by growing recall and so falling rate."""
    front: list[Point] = []
    for recall, rate in sorted(points, key=lambda point: (-point[1], -point[0])):
        if not front or recall > front[-1][0]:
            front.append((recall, rate))
    return front


def interpolate(points: Sequence[Point], target: float) -> float | None:
    """The rate at a target recall; between two points its logarithm is taken as linear.

    None when the target lies beyond the best recall; when every point is above the target the rate
    of the fastest is returned, which understates.
    """
    front = pareto_front(points)
    above = next((i for i, (recall, _) in enumerate(front) if recall >= target), None)
    if above is None:
        return None
    if above == 0:
        return front[0][1]
    (low, fast), (high, slow) = front[above - 1], front[above]
    share = (target - low) / (high - low)
    return math.exp(math.log(fast) + share * (math.log(slow) - math.log(fast)))


def bracket(recall_at: Mapping[int, float], targets: Sequence[float]) -> list[int]:
    """The efforts to time: for each target the first that reaches it and the one before."""
    efforts = sorted(recall_at)
    chosen: set[int] = set()
    for target in targets:
        at = next((i for i, effort in enumerate(efforts) if recall_at[effort] >= target), None)
        if at is not None:
            chosen.update(efforts[max(0, at - 1) : at + 1])
    return sorted(chosen)


def best_at(curves: Mapping[str, Sequence[Point]], target: float) -> str | None:
    """Which curve is fastest at a target recall; None when none reaches it."""
    rates = {name: interpolate(points, target) for name, points in curves.items()}
    reached = {name: rate for name, rate in rates.items() if rate is not None}
    return max(reached, key=lambda name: reached[name]) if reached else None
