"""hnswlib: float32 rows and links in memory. Build it from source, so that AVX-512 is used."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.peers.graph import BatchSearcher, GraphIndex, Queries, Searcher, Shape


class Hnswlib(GraphIndex):
    """hnswlib's one index."""

    name = "hnswlib"
    module = "hnswlib"
    packages = ("hnswlib",)

    def __init__(self, m: int = 16, ef_construction: int = 200) -> None:
        super().__init__()
        self.m = m
        self.ef_construction = ef_construction
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"m": self.m, "ef_construction": self.ef_construction}

    @staticmethod
    def instructions() -> str | None:
        """The widest registers its machine code names; None where that cannot be seen."""
        import hnswlib

        objdump = shutil.which("objdump")
        if objdump is None:
            return None
        command = [objdump, "-d", hnswlib.__file__]
        listing = subprocess.run(command, capture_output=True, text=True)
        for register, name in (("%zmm", "AVX-512"), ("%ymm", "AVX2"), ("%xmm", "SSE")):
            if register in listing.stdout:
                return name
        return None

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import hnswlib

        index = hnswlib.Index(space=data.metric, dim=data.dim)
        start = time.perf_counter()
        index.init_index(len(data.base), M=self.m, ef_construction=self.ef_construction)
        index.set_num_threads(threads)
        index.add_items(data.base, num_threads=threads)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save_index(str(path / "index.bin"))
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import hnswlib

        self._index = hnswlib.Index(space=shape.metric, dim=shape.dim)
        self._index.load_index(str(path / "index.bin"))
        self._index.set_num_threads(1)

    def searcher(self, k: int, effort: int) -> Searcher:
        self._index.set_ef(max(effort, k))
        answer, named = self._index.knn_query, self.named

        def search(query: Queries) -> list[str]:
            return named(answer(query, k, 1)[0][0].tolist())

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        self._index.set_ef(max(effort, k))
        answer, named = self._index.knn_query, self.named

        def search(queries: Queries) -> list[list[str]]:
            return [named(labels) for labels in answer(queries, k, threads)[0].tolist()]

        return search

    def close(self) -> None:
        super().close()
        self._index = None
