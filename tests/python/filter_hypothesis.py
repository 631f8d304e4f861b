"""How properties of filters are tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, seed, settings


def hold(
    promise: Callable[..., None],
    *given_by: st.SearchStrategy[Any],
    examples: int,
    number: int | None = None,
) -> None:
    """Try a promise on so many examples: always the same ones, or those of a seed."""
    test = settings(
        max_examples=examples,
        deadline=None,
        derandomize=number is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(*given_by)(promise))
    (test if number is None else seed(number)(test))()
