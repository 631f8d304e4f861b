"""Graph indexes that answer nearest-neighbour queries: what every library must do to be measured.

One file a library beside this one; `registry.py` lists them. To add a peer: derive from
`GraphIndex`, override what it can, enter it there.

What is timed is the callable that `searcher` or `batch_searcher` returns. Both answer with the
users' own ids, strings, so mapping a library's numbers to them is inside the timing of every one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import Floats, VectorSet

Queries = NDArray[Any]  # float32, or what `prepare` made of it
Searcher = Callable[[NDArray[Any]], list[str]]
BatchSearcher = Callable[[Queries], list[list[str]]]

# Each about 1.4 times the one before.
EFFORTS = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896, 1280, 2560]


@dataclass(frozen=True)
class Shape:
    """What opening an index may need to know of the rows, without having them."""

    rows: int
    dim: int
    metric: str
    bytes_only: bool  # every coordinate is an integer from 0 to 255

    @staticmethod
    def of(data: VectorSet) -> Shape:
        return Shape(len(data.base), data.dim, data.metric, data.bytes_only)


class GraphIndex(ABC):
    """One library with its build parameters and its fixed search options."""

    name: ClassVar[str]
    module: ClassVar[str]  # what to import
    packages: ClassVar[tuple[str, ...]]  # distributions whose versions a result depends on
    efforts: ClassVar[Sequence[int]] = EFFORTS  # search efforts to sweep, ascending
    takes_inner_product: ClassVar[bool] = True  # else it is measured with L2 and cosine alone

    def __init__(self) -> None:
        self.names: list[str] = []  # the user's id of each row; set before the first search
        self._pools: dict[int, ThreadPoolExecutor] = {}

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What the build depends on, for the cache's key."""

    def options(self) -> dict[str, Any]:
        """What a search depends on besides the effort."""
        return {}

    def refuses(self, shape: Shape) -> str | None:
        """Why this library cannot take such rows; None when it can."""
        if shape.metric == "ip" and not self.takes_inner_product:
            return f"{self.name} is not measured with inner product"
        return None

    @abstractmethod
    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        """Build at `path` from nothing; returns the seconds until searches are at full speed."""

    @abstractmethod
    def open(self, shape: Shape, path: Path) -> None:
        """Load what `build` left, in a state that answers at full speed."""

    def settle(self) -> None:  # noqa: B027
        """What a user who keeps the index open would do once, before many searches; not timed."""

    def prepare(self, queries: Floats) -> Queries:
        """Queries in the type the library takes, as its user would have them; not timed."""
        return queries

    @abstractmethod
    def searcher(self, k: int, effort: int) -> Searcher:
        """A function of one query that answers the ids of its k best, best first."""

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        """A function of many queries, on so many threads; here one call a query."""
        search = self.searcher(k, effort)
        if threads == 1:
            return lambda queries: [search(query) for query in queries]
        if threads not in self._pools:
            self._pools[threads] = ThreadPoolExecutor(threads)
        pool = self._pools[threads]

        def share(queries: Queries) -> list[list[str]]:
            return [search(query) for query in queries]

        def search_all(queries: Queries) -> list[list[str]]:
            parts = pool.map(share, np.array_split(queries, threads))
            return [answer for part in parts for answer in part]

        return search_all

    def named(self, labels: Iterable[int]) -> list[str]:
        """The users' ids of row numbers."""
        names = self.names
        return [names[label] for label in labels]

    def rest(self) -> None:  # noqa: B027
        """Keep no thread busy until the next search."""

    def close(self) -> None:
        """Let go of memory and files."""
        for pool in self._pools.values():
            pool.shutdown()
        self._pools = {}


def row_numbers(answer: Sequence[str]) -> list[int]:
    """The rows of an answer, best first; outside the timing. Ids are row numbers as text."""
    return [int(name) for name in answer]


def unit_rows(data: VectorSet) -> Floats:
    """The rows, brought to length 1 for cosine, for libraries that then take L2."""
    if data.metric != "cosine":
        return data.base
    sizes = np.linalg.norm(data.base, axis=1, keepdims=True)
    return np.ascontiguousarray(data.base / np.where(sizes > 0, sizes, 1), dtype=np.float32)
