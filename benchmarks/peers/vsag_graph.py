"""VSAG: HGraph over 8-bit codes, reranked with the float32 rows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import (
    GraphIndex,
    Queries,
    Searcher,
    Shape,
    unit_rows,
)


class Vsag(GraphIndex):
    """HGraph, L2, cosine as L2 of unit rows."""

    name = "vsag"
    module = "pyvsag"
    packages = ("pyvsag",)
    takes_inner_product = False

    def __init__(
        self, degree: int = 32, ef_construction: int = 400, quantize: str = "sq8_uniform"
    ) -> None:
        super().__init__()
        self.degree, self.ef_construction, self.quantize = degree, ef_construction, quantize
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {
            "degree": self.degree,
            "ef_construction": self.ef_construction,
            "quantize": self.quantize,
        }

    def _empty(self, dim: int, threads: int) -> Any:
        import pyvsag

        pyvsag.set_logger_off()
        about = {
            "base_quantization_type": self.quantize,
            "use_reorder": self.quantize != "fp32",
            "precise_quantization_type": "fp32",
            "max_degree": self.degree,
            "ef_construction": self.ef_construction,
            "build_thread_count": threads,
        }
        shape = {"dtype": "float32", "metric_type": "l2", "dim": dim, "index_param": about}
        return pyvsag.Index("hgraph", json.dumps(shape))

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        rows = unit_rows(data)
        labels = np.arange(len(rows), dtype=np.int64)
        start = time.perf_counter()
        index = self._empty(data.dim, threads)
        index.build(rows.reshape(-1), labels, len(rows), data.dim)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save(str(path / "index.vsag"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        self._index = self._empty(shape.dim, 2)
        self._index.load(str(path / "index.vsag"))

    def searcher(self, k: int, effort: int) -> Searcher:
        parameters = json.dumps({"hgraph": {"ef_search": effort}})
        answer, named = self._index.knn_search, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query, k, parameters)[0].tolist())

        return search

    def close(self) -> None:
        super().close()
        self._index = None
