"""Voyager: hnswlib's graph with float32 rows, by Spotify."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import BatchSearcher, GraphIndex, Queries, Searcher, Shape

METRICS = {"l2": "Euclidean", "cosine": "Cosine", "ip": "InnerProduct"}


class Voyager(GraphIndex):
    """Voyager's one index."""

    name = "voyager"
    module = "voyager"
    packages = ("voyager",)

    def __init__(self, m: int = 16, ef_construction: int = 200) -> None:
        super().__init__()
        self.m, self.ef_construction = m, ef_construction
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"m": self.m, "ef_construction": self.ef_construction}

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import voyager

        start = time.perf_counter()
        index = voyager.Index(
            getattr(voyager.Space, METRICS[data.metric]),
            num_dimensions=data.dim,
            M=self.m,
            ef_construction=self.ef_construction,
            max_elements=len(data.base),
        )
        index.add_items(data.base, num_threads=threads)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save(str(path / "index.voy"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import voyager

        self._index = voyager.Index.load(str(path / "index.voy"))

    def searcher(self, k: int, effort: int) -> Searcher:
        answer, named = self._index.query, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query, k, 1, effort)[0].tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        answer, named = self._index.query, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(row) for row in answer(queries, k, threads, effort)[0].tolist()]

        return search

    def close(self) -> None:
        super().close()
        self._index = None
