"""NGT: its graph and tree (ANNG) over float32 rows. The effort is a thousandth of its epsilon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import GraphIndex, Queries, Searcher, Shape

DISTANCES = {"l2": "L2", "cosine": "Normalized Cosine"}


class Ngt(GraphIndex):
    """ANNG with `edges` links made for each row; searches follow `search_edges` of them."""

    name = "ngt"
    module = "ngtpy"
    packages = ("ngt",)
    takes_inner_product = False
    efforts = (5, 10, 20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400, 500)

    def __init__(self, edges: int = 20, search_edges: int = 60) -> None:
        super().__init__()
        self.edges, self.search_edges = edges, search_edges
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"edges": self.edges, "search_edges": self.search_edges}

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import ngtpy

        start = time.perf_counter()
        ngtpy.create(
            str(path),
            data.dim,
            edge_size_for_creation=self.edges,
            edge_size_for_search=self.search_edges,
            distance_type=DISTANCES[data.metric],
        )
        index = ngtpy.Index(str(path))
        index.batch_insert(data.base, num_threads=threads)
        taken = time.perf_counter() - start
        index.save()
        index.close()
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import ngtpy

        self._index = ngtpy.Index(str(path), read_only=True)

    def searcher(self, k: int, effort: int) -> Searcher:
        answer, named, epsilon = self._index.search, self.named, effort / 1000

        def search(query: Queries) -> list[str]:
            return named(answer(query, k, epsilon, with_distance=False))

        return search

    def close(self) -> None:
        super().close()
        self._index.close()
        self._index = None
