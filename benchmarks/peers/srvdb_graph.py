"""srvdb as its users get it: a durable database opened from disk, every row linked, string ids."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.peers import srvdb_store
from benchmarks.peers.graph import BatchSearcher, GraphIndex, Queries, Searcher, Shape


class Srvdb(GraphIndex):
    """srvdb with mode "hnsw"; further options go to `srvdb.open` when the database is made."""

    name = "srvdb"
    module = "srvdb"
    packages = ()  # `parameters` names the very build
    # Denser than others': between 5 and 50 a step changes much.
    efforts = (5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 20, 24, 28, 34, 40, 48, 56, 68, 80, 96, 112, 136,
               160, 224, 320, 448, 640, 896, 1280, 2560)  # fmt: skip

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.create_options = options
        self.path = Path()  # of the open database
        self._db: Any = None

    def parameters(self) -> dict[str, Any]:
        return {**self.create_options, "srvdb": srvdb_store.build_id()}

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        ids = srvdb_store.row_ids(len(data.base))
        start = time.perf_counter()
        with srvdb_store.create(path, data.metric, mode="hnsw", **self.create_options) as db:
            db.add_batch(ids, data.base, threads=threads)
            db.optimize(threads=threads)
        return time.perf_counter() - start  # closing is part of it

    def open(self, shape: Shape, path: Path) -> None:
        self.path = path
        self._db = srvdb_store.open_linked(path)
        waiting = srvdb_store.stat(self._db, "unlinked_rows")
        if waiting:  # they would be scanned, which is not what is measured
            raise RuntimeError(f"{waiting} rows of {path} are not linked")

    def searcher(self, k: int, effort: int) -> Searcher:
        answer = self._db.search

        def search(query: Queries) -> list[str]:
            return answer(query, k, ef=effort).ids

        return search

    def batch_searcher(self, k: int, effort: int, threads: int) -> BatchSearcher:
        answer = self._db.search_batch

        def search(queries: Queries) -> list[list[str]]:
            return [hits.ids for hits in answer(queries, k, ef=effort, threads=threads)]

        return search

    def close(self) -> None:
        super().close()
        self._db.close()
        self._db = None
