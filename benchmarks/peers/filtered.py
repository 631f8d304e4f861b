"""Stores that search among the rows that match a filter.

To add a peer: subclass `FilteredStore` and enter it in `STORES`. Each is built once from rows with
their attributes, the attributes indexed where the library can, and asked one query at a time; a
searcher has its filter in the form the library takes, and returns ids of rows as strings or ints.
"""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.datasets import Floats
from benchmarks.filter_sets import Filter, FilteredSet
from benchmarks.peers import srvdb_store
from benchmarks.peers.graph import unit_rows
from benchmarks.peers.stores import ZVEC_BATCH, zvec_start

Search = Callable[[Floats], Iterable[Any]]


class FilteredStore(ABC):
    """One library with one set of build parameters.

    `efforts` are what its searches are swept over, ascending; (0,) where there is nothing to turn.
    """

    name: str
    efforts: tuple[int, ...] = (10, 12, 14, 17, 20, 24, 29, 35, 42, 50, 60, 80, 110, 150, 250, 500)

    @abstractmethod
    def build(self, given: FilteredSet, path: Path) -> None:
        """Store the rows at a path where nothing is."""

    @abstractmethod
    def open(self, given: FilteredSet, path: Path) -> None:
        """Open what `build` has stored."""

    @abstractmethod
    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        """A function from a query to the ids of the k nearest rows that match."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""

    def ready(self, given: FilteredSet, cache: Path) -> float | None:
        """Open it, built first where that has not been done; seconds of the building."""
        path = cache / f"filters-{self.name}-{given.data.name}-{given.data.fingerprint()}"
        taken = None
        if not (path / "done").exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            start = time.perf_counter()
            self.build(given, path / "store")
            taken = time.perf_counter() - start
            (path / "done").touch()
        self.open(given, path / "store")
        return taken


class Srvdb(FilteredStore):
    """Opened from disk; fields are indexed as they appear."""

    name = "srvdb"
    efforts = (5, 6, 7, 8, 9, *FilteredStore.efforts)

    def ready(self, given: FilteredSet, cache: Path) -> float | None:
        self.name = f"srvdb-{srvdb_store.build_id()}"
        return super().ready(given, cache)

    def build(self, given: FilteredSet, path: Path) -> None:
        with srvdb_store.create(path, given.data.metric, mode="hnsw") as db:
            db.add_batch(
                srvdb_store.row_ids(len(given.data.base)), given.data.base, given.metadata()
            )
            db.optimize()

    def open(self, given: FilteredSet, path: Path) -> None:
        self._db: Any = srvdb_store.open_linked(path)

    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        search = self._db.search
        if among is None:
            return lambda query: [hit[0] for hit in search(query, k, ef=effort)]
        where = among.where
        return lambda query: [hit[0] for hit in search(query, k, ef=effort, where=where)]

    def close(self) -> None:
        self._db.close()


class Zvec(FilteredStore):
    """Vamana over 8-bit codes, as in `zvec_graph.py`; the fields have inverted indexes."""

    name = "zvec"

    def build(self, given: FilteredSet, path: Path) -> None:
        import zvec

        zvec_start(zvec, 2)
        data = given.data
        index = zvec.VamanaIndexParam(
            metric_type=zvec.MetricType.L2,
            max_degree=32 if data.bytes_only else 64,
            search_list_size=100,
            quantize_type=zvec.QuantizeType.UNIFORM_UINT8,
            use_contiguous_memory=True,
            use_flat_contiguous_memory=True,
            flat_data_type=(
                zvec.DataType.VECTOR_UINT8 if data.bytes_only else zvec.DataType.VECTOR_FP32
            ),
        )
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        kinds = {"f": zvec.DataType.DOUBLE, "i": zvec.DataType.INT64, "u": zvec.DataType.INT64}
        fields = [
            zvec.FieldSchema(name, kinds[values.dtype.kind], index_param=inverted)
            for name, values in given.attributes.items()
        ]
        vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, data.dim, index_param=index)
        schema = zvec.CollectionSchema(name="rows", fields=fields, vectors=[vector])
        rows, attributes = unit_rows(data), given.metadata()
        collection = zvec.create_and_open(str(path), schema)
        for begin in range(0, len(rows), ZVEC_BATCH):
            documents = [
                zvec.Doc(id=str(row), vectors={"vector": rows[row]}, fields=attributes[row])
                for row in range(begin, min(begin + ZVEC_BATCH, len(rows)))
            ]
            if not all(status.ok() for status in collection.insert(documents)):
                raise RuntimeError("zvec refused a document")
        collection.optimize(zvec.OptimizeOption(concurrency=2))
        collection.flush()
        collection.close()

    def open(self, given: FilteredSet, path: Path) -> None:
        import numpy as np
        import zvec

        zvec_start(zvec, 2)
        self._collection: Any = zvec.open(str(path), zvec.CollectionOption(read_only=True))
        rows = self._collection.stats.doc_count
        self._ids = list(self._collection.resolve_internal_ids(np.arange(rows)))

    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        import zvec

        param = zvec.VamanaQueryParam(ef_search=effort, is_using_refiner=True, scale_factor=0.0)
        numbers, ids, make = self._collection.query_internal_ids, self._ids, zvec.Query
        text = None if among is None else condition(among)

        def search(query: Floats) -> list[str]:
            found = numbers(make("vector", vector=query, param=param), topk=k, filter=text)
            return [ids[number] for number in found.tolist() if number >= 0]

        return search

    def close(self) -> None:
        self._collection.close()


class LanceDb(FilteredStore):
    """One partition of HNSW over 8-bit codes, refined; scalar indexes on the fields."""

    name = "lancedb"
    efforts = (20, 30, 50, 100, 200, 500, 1000)  # from k times refine_factor

    def build(self, given: FilteredSet, path: Path) -> None:
        import lancedb
        import pyarrow

        flat = pyarrow.array(given.data.base.reshape(-1))
        columns: dict[str, Any] = {
            "id": pyarrow.array(srvdb_store.row_ids(len(given.data.base))),
            "vector": pyarrow.FixedSizeListArray.from_arrays(flat, given.data.dim),
        }
        for name, values in given.attributes.items():
            columns[name] = pyarrow.array(values.astype("f8" if values.dtype.kind == "f" else "i8"))
        table = lancedb.connect(str(path)).create_table("rows", data=pyarrow.table(columns))
        table.create_index(
            metric=given.data.metric,
            index_type="IVF_HNSW_SQ",
            num_partitions=1,
            m=16,
            ef_construction=200,
        )
        for name in given.attributes:
            table.create_scalar_index(name)

    def open(self, given: FilteredSet, path: Path) -> None:
        import lancedb

        self._table: Any = lancedb.connect(str(path)).open_table("rows")

    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        table = self._table
        text = None if among is None else condition(among)

        def search(query: Floats) -> list[str]:
            asked = (
                table.search(query)
                .nprobes(1)
                .ef(effort)
                .refine_factor(2)
                .select(["id", "_distance"])
            )
            if text is not None:
                asked = asked.where(text, prefilter=True)
            answer: list[str] = asked.limit(k).to_arrow()["id"].to_pylist()
            return answer

        return search

    def close(self) -> None:
        self._table = None


class Chroma(FilteredStore):
    """A persistent collection."""

    name = "chroma"
    efforts = (10, 15, 20, 30, 50, 100, 200, 500)
    BATCH = 5000

    def _client(self, path: Path) -> Any:
        os.environ["ANONYMIZED_TELEMETRY"] = "False"
        import chromadb

        return chromadb.PersistentClient(
            str(path), settings=chromadb.Settings(anonymized_telemetry=False)
        )

    def build(self, given: FilteredSet, path: Path) -> None:
        hnsw = {"space": given.data.metric, "ef_construction": 200, "max_neighbors": 16}
        collection = self._client(path).create_collection(
            "rows", configuration={"hnsw": hnsw}, embedding_function=None
        )
        ids, attributes = srvdb_store.row_ids(len(given.data.base)), given.metadata()
        for begin in range(0, len(ids), self.BATCH):
            part = slice(begin, begin + self.BATCH)
            collection.add(
                ids=ids[part], embeddings=given.data.base[part], metadatas=attributes[part]
            )

    def open(self, given: FilteredSet, path: Path) -> None:
        self._collection: Any = self._client(path).get_collection("rows", embedding_function=None)
        self._effort = 0

    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        where = None if among is None else among.where

        def search(query: Floats) -> list[str]:
            if self._effort != effort:
                self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
                self._effort = effort
            answer = self._collection.query(
                query_embeddings=query[None], n_results=k, where=where, include=[]
            )
            found: list[str] = answer["ids"][0]
            return found

        return search

    def close(self) -> None:
        self._collection = None


class Qdrant(FilteredStore):
    """Local mode, in memory: compares with every row."""

    name = "qdrant"
    efforts = (0,)

    def build(self, given: FilteredSet, path: Path) -> None:
        pass

    def open(self, given: FilteredSet, path: Path) -> None:
        from qdrant_client import QdrantClient, models

        kinds = {"l2": models.Distance.EUCLID, "cosine": models.Distance.COSINE}
        self._client = QdrantClient(":memory:")
        self._client.create_collection(
            "rows",
            vectors_config=models.VectorParams(
                size=given.data.dim, distance=kinds[given.data.metric]
            ),
        )
        self._client.upload_collection(
            "rows", given.data.base, given.metadata(), range(len(given.data.base))
        )

    def searcher(self, k: int, effort: int, among: Filter | None) -> Search:
        from qdrant_client import models

        client, wanted = self._client, None
        if among is not None:
            value: Any = among.value
            match: Any = {
                "==": lambda: {"match": models.MatchValue(value=value)},
                "in": lambda: {"match": models.MatchAny(any=value)},
                ">=": lambda: {"range": models.Range(gte=value)},
                "<": lambda: {"range": models.Range(lt=value)},
            }[among.operator]()
            wanted = models.Filter(must=[models.FieldCondition(key=among.field, **match)])

        def search(query: Floats) -> list[Any]:
            answer = client.query_points(
                "rows", query=query.tolist(), query_filter=wanted, limit=k, with_payload=False
            )
            return [point.id for point in answer.points]

        return search

    def close(self) -> None:
        self._client.close()


def condition(among: Filter) -> str:
    """The filter in SQL's words."""
    if among.operator == "in":
        return f"{among.field} IN ({', '.join(str(value) for value in among.value)})"
    operator = "=" if among.operator == "==" else among.operator
    return f"{among.field} {operator} {among.value!r}"


STORES: dict[str, Callable[[], FilteredStore]] = {
    "srvdb": Srvdb,
    "zvec": Zvec,
    "lancedb": LanceDb,
    "chroma": Chroma,
    "qdrant": Qdrant,
}
