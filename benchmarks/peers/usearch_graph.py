"""usearch: HNSW over float32 rows or 8-bit codes (of cosine, where they are well defined)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import BatchSearcher, GraphIndex, Queries, Searcher, Shape

METRICS = {"l2": "l2sq", "cosine": "cos", "ip": "ip"}


class Usearch(GraphIndex):
    """usearch's Index with `dtype` f32 or i8."""

    name = "usearch"
    module = "usearch.index"
    packages = ("usearch",)

    def __init__(self, dtype: str = "f32", m: int = 16, ef_construction: int = 200) -> None:
        super().__init__()
        self.dtype, self.m, self.ef_construction = dtype, m, ef_construction
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "m": self.m, "ef_construction": self.ef_construction}

    def refuses(self, shape: Shape) -> str | None:
        if self.dtype == "i8" and shape.metric != "cosine":
            return "usearch's 8-bit codes are for rows of length 1"
        return super().refuses(shape)

    def _empty(self, shape: Shape) -> Any:
        from usearch.index import Index

        return Index(
            ndim=shape.dim,
            metric=METRICS[shape.metric],
            dtype=self.dtype,
            connectivity=self.m,
            expansion_add=self.ef_construction,
        )

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        keys = np.arange(len(data.base), dtype=np.uint64)
        start = time.perf_counter()
        index = self._empty(Shape.of(data))
        index.add(keys, data.base, threads=threads)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save(str(path / "index.usearch"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        self._index = self._empty(shape)
        self._index.load(str(path / "index.usearch"))

    def searcher(self, k: int, effort: int) -> Searcher:
        self._index.expansion_search = effort
        answer, named = self._index.search, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query, k, threads=1).keys.tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        self._index.expansion_search = effort
        answer, named = self._index.search, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(row) for row in answer(queries, k, threads=threads).keys.tolist()]

        return search

    def close(self) -> None:
        super().close()
        self._index = None
