"""Counting by filters on indexed fields of a million rows, and the bytes that columns take.

Nothing of a filter's answer is kept (`filter_cache=0`), and each count asks for another value, so
every one is worked out. Bytes are those of `metadata.db` with fields of few values, over those of
the same rows without an indexed field.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import srvdb
from benchmarks.ingest import fresh
from benchmarks.peers import srvdb_store
from benchmarks.report import Measure, Report, arguments
from benchmarks.timing import pinned

MUST_MS = 1.0
MUST_BYTES = 2.0
MUST_ROWS = 1_000_000
DIM = 4
COUNTS = 200  # of each kind
FEW = {"flag": 2, "kind": 7, "year": 35, "place": 100}  # fields of few values, how many


def documents(rows: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    fields = {name: random.integers(0, values, rows).tolist() for name, values in FEW.items()}
    user = random.integers(0, 10_000, rows).tolist()
    price = random.random(rows).round(6).tolist()
    return [
        {
            "flag": fields["flag"][i] == 1,
            "kind": f"kind {fields['kind'][i]}",
            "year": 1990 + fields["year"][i],
            "place": f"place {fields['place'][i]}",
            "tags": [f"kind {fields['kind'][i]}", f"place {fields['place'][i]}"],
            "user": f"user-{user[i]}",
            "price": price[i],
        }
        for i in range(rows)
    ]


def questions() -> dict[str, list[dict[str, Any]]]:
    """Filters by what they ask, one for each count."""
    many = range(COUNTS)
    return {
        "equal, 2 values": [{"flag": i % 2 == 0} for i in many],
        "equal, 35 values": [{"year": 1990 + i % 35} for i in many],
        "range, 35 values": [{"year": {"$gte": 1990 + i % 35}} for i in many],
        "equal, 100 values": [{"place": f"place {i % 100}"} for i in many],
        "element of an array": [{"tags": f"place {i % 100}"} for i in many],
        "equal, 10,000 values": [{"user": f"user-{i}"} for i in many],
        "range, all values distinct": [{"price": {"$lt": i / COUNTS}} for i in many],
        "two fields": [{"flag": True, "year": 1990 + i % 35} for i in many],
    }


def make(path: Path, rows: int, texts: list[dict[str, Any]], fields: str | list[str]) -> int:
    """Bytes of metadata.db."""
    ids = srvdb_store.row_ids(rows)
    vectors = np.zeros((rows, DIM), dtype=np.float32)
    with srvdb_store.create(path, "l2", mode="flat", indexed_fields=fields) as db:
        db.add_batch(ids, vectors, texts)
        db.persist()
    return next(path.glob("gen-*/metadata.db")).stat().st_size


def main() -> Path:
    parser = arguments(__doc__, rows=MUST_ROWS)
    options: argparse.Namespace = parser.parse_args()
    report = Report("columns", options.out)
    folder = fresh(options.cache / "columns")
    texts = documents(options.rows)
    judged = options.rows >= MUST_ROWS
    bare = make(folder / "bare", options.rows, texts, [])
    few = make(folder / "few", options.rows, texts, list(FEW))
    used = (few - bare) / options.rows / len(FEW)
    report.add(
        Measure(
            f"bytes a row and field, {options.rows:,} rows, fields of 2 to 100 values",
            f"≤ {MUST_BYTES:g}",
            f"{used:.2f}",
            used,
            reached=used <= MUST_BYTES if judged else None,
        )
    )
    make(folder / "all", options.rows, texts, "all")
    with srvdb.open(folder / "all", config={"filter_cache": 0}) as db, pinned():
        for name, filters in questions().items():
            taken = []
            for where in filters:
                start = time.perf_counter()
                db.count(where)
                taken.append(1000 * (time.perf_counter() - start))
            middle = statistics.median(taken)
            worst = sorted(taken)[-len(taken) // 20]
            report.add(
                Measure(
                    f"count, {options.rows:,} rows, {name}",
                    f"< {MUST_MS:g} ms",
                    f"{middle:.2f} ms (of 20 one takes {worst:.2f} or more)",
                    middle,
                    reached=middle < MUST_MS if judged else None,
                    detail={"ms": taken},
                )
            )
    shutil.rmtree(folder, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    main()
