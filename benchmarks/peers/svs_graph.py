"""Intel Scalable Vector Search: Vamana over float16, uint8 or locally adaptive codes (LVQ)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import Floats, VectorSet
from benchmarks.peers.graph import (
    BatchSearcher,
    GraphIndex,
    Queries,
    Searcher,
    Shape,
    unit_rows,
)

STORAGES = ("auto", "f16", "u8", "lvq8", "lvq4x8")


class Svs(GraphIndex):
    """Vamana, L2, cosine as L2 of unit rows; "auto" keeps bytes as uint8, all else as float16."""

    name = "svs"
    module = "svs"
    packages = ("scalable-vs",)
    takes_inner_product = False

    def __init__(
        self, storage: str = "auto", degree: int = 64, window: int = 128, alpha: float = 1.2
    ) -> None:
        super().__init__()
        if storage not in STORAGES:
            raise ValueError(f"storage is one of {', '.join(STORAGES)}, got {storage!r}")
        self.storage, self.degree, self.window, self.alpha = storage, degree, window, alpha
        self._index: Any = None
        self._type: Any = np.float32

    def parameters(self) -> dict[str, Any]:
        return {
            "storage": self.storage,
            "degree": self.degree,
            "window": self.window,
            "alpha": self.alpha,
        }

    def refuses(self, shape: Shape) -> str | None:
        if (self.storage == "u8") > shape.bytes_only:
            return "the rows are not bytes"
        if self.storage.startswith("lvq") and shape.bytes_only:
            return "the rows are bytes already"
        return super().refuses(shape)

    def _stored_as(self, shape: Shape) -> str:
        if self.storage == "auto":
            return "u8" if shape.bytes_only else "f16"
        return self.storage

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import svs

        stored = self._stored_as(Shape.of(data))
        rows: Any = unit_rows(data)
        path.mkdir(parents=True)
        parameters = svs.VamanaBuildParameters(
            alpha=self.alpha, graph_max_degree=self.degree, window_size=self.window
        )
        if stored.startswith("lvq"):
            file = path / "rows.fvecs"
            svs.write_vecs(rows, str(file))
            loader = svs.VectorDataLoader(str(file), svs.DataType.float32, dims=data.dim)
            primary, _, residual = stored[3:].partition("x")
            rows = svs.LVQLoader(loader, primary=int(primary), residual=int(residual or 0))
        else:
            rows = rows.astype({"u8": np.uint8, "f16": np.float16}[stored])
        start = time.perf_counter()
        index = svs.Vamana.build(parameters, rows, svs.DistanceType.L2, num_threads=threads)
        taken = time.perf_counter() - start
        index.save(*(str(path / part) for part in ("config", "graph", "data")))
        (path / "rows.fvecs").unlink(missing_ok=True)
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import svs

        stored = self._stored_as(shape)
        types = {"u8": svs.DataType.uint8, "f16": svs.DataType.float16}
        data = str(path / "data")
        if stored in types:
            loader = svs.VectorDataLoader(data, types[stored], dims=shape.dim)
        else:
            loader = svs.LVQLoader(data)
        asked = svs.DataType.uint8 if stored == "u8" else svs.DataType.float32
        self._type = np.uint8 if stored == "u8" else np.float32
        graph = svs.GraphLoader(str(path / "graph"))
        self._index = svs.Vamana(
            str(path / "config"), graph, loader, svs.DistanceType.L2, asked, num_threads=1
        )

    def prepare(self, queries: Floats) -> Queries:
        return queries.astype(self._type)

    def _set(self, effort: int, threads: int) -> None:
        import svs

        if self._index.num_threads != threads:
            self._index.num_threads = threads
        parameters = self._index.search_parameters
        parameters.buffer_config = svs.SearchBufferConfig(effort)
        self._index.search_parameters = parameters

    def searcher(self, k: int, effort: int) -> Searcher:
        self._set(max(effort, k), 1)
        answer, named = self._index.search, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query, k)[0][0].tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        self._set(max(effort, k), threads)
        answer, named = self._index.search, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(labels) for labels in answer(queries, k)[0].tolist()]

        return search

    def rest(self) -> None:
        if self._index.num_threads != 1:
            self._index.num_threads = 1

    def close(self) -> None:
        super().close()
        self._index = None
