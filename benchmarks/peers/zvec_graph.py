"""zvec: Vamana over uniform 8-bit codes in contiguous memory, reranked with the rows."""

from __future__ import annotations

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
from benchmarks.peers.stores import ZVEC_BATCH, zvec_start


class Zvec(GraphIndex):
    """A read-only collection, asked for its row numbers: its fastest way.

    Their ids are looked up in a list that is filled at once; asking for those of each answer
    (`resolve_internal_ids`) takes nearly as long as a search.

    `degree` 0 takes 32 for bytes and 64 for all else. `refine` is how many times k candidates are
    reranked; 0 for as many as the effort. Its uniform codes are for L2 alone, so
    cosine is taken as L2 of unit rows.
    """

    name = "zvec"
    module = "zvec"
    packages = ("zvec",)
    takes_inner_product = False

    def __init__(
        self,
        degree: int = 0,
        window: int = 100,
        quantize: str = "UNIFORM_UINT8",
        refine: float = 0,
    ) -> None:
        super().__init__()
        self.degree, self.window, self.quantize, self.refine = degree, window, quantize, refine
        self._collection: Any = None
        self._settled = False

    def parameters(self) -> dict[str, Any]:
        return {"degree": self.degree, "window": self.window, "quantize": self.quantize}

    def options(self) -> dict[str, Any]:
        return {"refine": self.refine, "ids": "list"}

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        import zvec

        zvec_start(zvec, threads)
        index = zvec.VamanaIndexParam(
            metric_type=zvec.MetricType.L2,
            max_degree=self.degree or (32 if data.bytes_only else 64),
            search_list_size=self.window,
            quantize_type=getattr(zvec.QuantizeType, self.quantize),
            use_contiguous_memory=True,
            use_flat_contiguous_memory=True,
            flat_data_type=(
                zvec.DataType.VECTOR_UINT8 if data.bytes_only else zvec.DataType.VECTOR_FP32
            ),
        )
        vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, data.dim, index_param=index)
        rows = unit_rows(data)
        schema = zvec.CollectionSchema(name="rows", vectors=[vector])
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        collection = zvec.create_and_open(str(path), schema)
        for begin in range(0, len(rows), ZVEC_BATCH):
            documents = [
                zvec.Doc(id=str(row), vectors={"vector": rows[row]}, fields={})
                for row in range(begin, min(begin + ZVEC_BATCH, len(rows)))
            ]
            if not all(status.ok() for status in collection.insert(documents)):
                raise RuntimeError("zvec refused a document")
        collection.optimize(zvec.OptimizeOption(concurrency=threads))
        collection.flush()
        taken = time.perf_counter() - start
        collection.close()
        return taken

    def open(self, shape: Shape, path: Path) -> None:
        import zvec

        zvec_start(zvec, 2)
        self._collection = zvec.open(str(path), zvec.CollectionOption(read_only=True))

    def settle(self) -> None:
        rows = self._collection.stats.doc_count
        self.names = self._collection.resolve_internal_ids(np.arange(rows))
        self._settled = True

    def searcher(self, k: int, effort: int) -> Searcher:
        import zvec

        refines = self.quantize != "UNDEFINED"
        param = zvec.VamanaQueryParam(
            ef_search=effort, is_using_refiner=refines, scale_factor=float(self.refine)
        )
        numbers = self._collection.query_internal_ids
        resolve, named, make = self._collection.resolve_internal_ids, self.named, zvec.Query

        def search(query: Queries) -> list[str]:
            return named(numbers(make("vector", vector=query, param=param), topk=k).tolist())

        def search_and_ask(query: Queries) -> list[str]:
            return list(resolve(numbers(make("vector", vector=query, param=param), topk=k)))

        return search if self._settled else search_and_ask

    def close(self) -> None:
        super().close()
        self._collection.close()
        self._collection = None
