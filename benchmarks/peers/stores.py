"""Stores that keep rows with ids and metadata on disk, for the ingest measure.

To add a peer: write a function `(directory, records) -> seconds` and enter it in `STORES`. Every
one gets the same records, as an application has them: a list of ids, a float32 array, a list of
dicts. What a library needs them turned into is inside its time; ending with everything handed to
disk is as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.datasets import Floats
from benchmarks.peers import srvdb_store

ZVEC_BATCH = 1000  # rows an insert; more are refused


@dataclass(frozen=True)
class Records:
    """What is to be stored; `metadata` is None where there is none."""

    ids: list[str]
    rows: Floats
    metadata: list[dict[str, Any]] | None


def srvdb_add(directory: Path, records: Records) -> float:
    """`add_batch`, durability "os", until `persist()` has returned."""
    with srvdb_store.create(directory / "db", "l2", durability="os") as db:
        start = time.perf_counter()
        if records.metadata is None:
            db.add_batch(records.ids, records.rows)
        else:
            db.add_batch(records.ids, records.rows, records.metadata)
        db.persist()
        return time.perf_counter() - start


def zvec_add(directory: Path, records: Records) -> float:
    """zvec with a flat index, its quickest way in: inserts of 1,000 documents, then a flush."""
    import zvec

    zvec_start(zvec)
    kinds = {int: zvec.DataType.INT64, float: zvec.DataType.DOUBLE, str: zvec.DataType.STRING}
    first = records.metadata[0] if records.metadata else {}
    fields = [zvec.FieldSchema(name, kinds[type(value)]) for name, value in first.items()]
    index = zvec.FlatIndexParam(metric_type=zvec.MetricType.L2)
    dim = records.rows.shape[1]
    vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, dim, index_param=index)
    schema = zvec.CollectionSchema(name="rows", fields=fields, vectors=[vector])
    collection = zvec.create_and_open(str(directory / "zvec"), schema)
    empty: dict[str, Any] = {}
    start = time.perf_counter()
    for begin in range(0, len(records.ids), ZVEC_BATCH):
        documents = [
            zvec.Doc(
                id=records.ids[row],
                vectors={"vector": records.rows[row]},
                fields=records.metadata[row] if records.metadata else empty,
            )
            for row in range(begin, min(begin + ZVEC_BATCH, len(records.ids)))
        ]
        if not all(status.ok() for status in collection.insert(documents)):
            raise RuntimeError("zvec refused a document")
    collection.flush()
    taken = time.perf_counter() - start
    collection.close()
    return taken


_zvec_started = False


def zvec_start(zvec: Any, threads: int | None = None) -> None:
    """zvec wants to be set up once a process; its log is kept quiet."""
    global _zvec_started
    if not _zvec_started:
        quiet = {"log_type": zvec.LogType.CONSOLE, "log_level": zvec.LogLevel.ERROR}
        zvec.init(**quiet, query_threads=threads, optimize_threads=threads)
        _zvec_started = True


def lancedb_add(directory: Path, records: Records) -> float:
    """LanceDB from an Arrow table that is made of the records inside the time."""
    import lancedb
    import pyarrow

    connection = lancedb.connect(str(directory / "lance"))
    start = time.perf_counter()
    flat = pyarrow.array(records.rows.reshape(-1))
    columns: dict[str, Any] = {
        "id": pyarrow.array(records.ids),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, records.rows.shape[1]),
    }
    if records.metadata:
        for name in records.metadata[0]:
            columns[name] = pyarrow.array([record[name] for record in records.metadata])
    connection.create_table("rows", data=pyarrow.table(columns))
    return time.perf_counter() - start


STORES: dict[str, Callable[[Path, Records], float]] = {
    "srvdb": srvdb_add,
    "zvec": zvec_add,
    "lancedb": lancedb_add,
}
