"""The RaBitQ library's SymphonyQG: a graph with 1-bit codes of the neighbours in every node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import (
    BatchSearcher,
    GraphIndex,
    Queries,
    Searcher,
    Shape,
    unit_rows,
)


class Rabitq(GraphIndex):
    """SymqgIndex, L2, cosine as L2 of unit rows. `bits` 0 keeps float32 rows, 4 or 8 codes."""

    name = "rabitqlib"
    module = "rabitqlib"
    packages = ("rabitqlib",)
    takes_inner_product = False

    def __init__(self, degree: int = 32, ef_construction: int = 400, bits: int = 0) -> None:
        super().__init__()
        self.degree, self.ef_construction, self.bits = degree, ef_construction, bits
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {
            "degree": self.degree,
            "ef_construction": self.ef_construction,
            "bits": self.bits,
        }

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import rabitqlib

        rows = unit_rows(data)
        start = time.perf_counter()
        index = rabitqlib.SymqgIndex(data.dim, self.degree, "l2", self.bits)
        index.build(rows, self.ef_construction, threads)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save(str(path / "index.qg"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import rabitqlib

        self._index = rabitqlib.SymqgIndex.load(str(path / "index.qg"))

    def searcher(self, k: int, effort: int) -> Searcher:
        answer, named = self._index.search, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query[None], k, effort, 1)[0][0].tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        answer, named = self._index.search_batch, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(row) for row in answer(queries, k, effort, threads)[0].tolist()]

        return search

    def close(self) -> None:
        super().close()
        self._index = None
