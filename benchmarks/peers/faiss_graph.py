"""faiss: HNSW over float32 rows, over 8-bit codes, and over codes with float32 reranking."""

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

KINDS = ("flat", "sq8", "refine")


class Faiss(GraphIndex):
    """IndexHNSWFlat, IndexHNSWSQ, or IndexRefineFlat over the latter. Cosine as L2 of unit rows."""

    name = "faiss"
    module = "faiss"
    packages = ("faiss-cpu",)
    takes_inner_product = False

    def __init__(
        self, kind: str = "flat", m: int = 32, ef_construction: int = 200, factor: int = 2
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
        self.kind, self.m, self.ef_construction, self.factor = kind, m, ef_construction, factor
        self._index: Any = None
        self._graph: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"kind": self.kind, "m": self.m, "ef_construction": self.ef_construction}

    def options(self) -> dict[str, Any]:
        return {"factor": self.factor} if self.kind == "refine" else {}

    def _empty(self, data: VectorSet) -> Any:
        import faiss

        if self.kind == "flat":
            graph = faiss.IndexHNSWFlat(data.dim, self.m)
        else:
            quantizer = faiss.ScalarQuantizer
            exact = quantizer.QT_8bit_direct if data.bytes_only else quantizer.QT_8bit
            graph = faiss.IndexHNSWSQ(data.dim, exact, self.m)
        graph.hnsw.efConstruction = self.ef_construction
        return graph if self.kind != "refine" else faiss.IndexRefineFlat(graph)

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import faiss

        faiss.omp_set_num_threads(threads)
        rows = unit_rows(data)
        start = time.perf_counter()
        index = self._empty(data)
        index.train(rows)
        index.add(rows)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        faiss.write_index(index, str(path / "index.faiss"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path / "index.faiss"))
        self._graph = self._index
        if self.kind == "refine":
            self._index.k_factor = float(self.factor)
            self._graph = faiss.downcast_index(self._index.base_index)

    def searcher(self, k: int, effort: int) -> Searcher:
        import faiss

        faiss.omp_set_num_threads(1)
        self._graph.hnsw.efSearch = effort
        answer, named = self._index.search, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query[None], k)[1][0].tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        import faiss

        faiss.omp_set_num_threads(threads)
        self._graph.hnsw.efSearch = effort
        answer, named = self._index.search, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(labels) for labels in answer(queries, k)[1].tolist()]

        return search

    def close(self) -> None:
        super().close()
        self._index = self._graph = None
