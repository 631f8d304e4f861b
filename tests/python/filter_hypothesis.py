"""How properties of filters are tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, seed, settings


def hold(
    promise: Callable[..., None],
    *given_by: st.SearchStrategy[Any],
    examples: int,
    number: int | None = None,
    shrink: bool = True,
) -> None:
    """Try a promise on so many examples: always the same ones, or those of a seed.

    A failure is made shorter before it is shown, which takes many examples more, unless told.
    """
    test = settings(
        max_examples=examples,
        deadline=None,
        derandomize=number is None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(*given_by)(promise))
    (test if number is None else seed(number)(test))()
