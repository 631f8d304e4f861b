"""Adding a million rows: rate against plain writing and against other stores, and memory.

Without metadata: srvdb's `add_batch` until `persist()` returns, against writing the same bytes
(vectors and ids) to two files in order and syncing each once, in turns. With a small metadata
dict a row: against other stores with the same records, and with its fields indexed against none
of them, in turns. Memory: a fresh process adds
rows that lie in a mapped file; the peak of its anonymous memory above its start, less the graph,
which is allowed its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import PeakAnonymous, anonymous_now
from benchmarks.peers import srvdb_store
from benchmarks.peers.stores import STORES, Records
from benchmarks.report import HERE, Measure, Report, arguments, with_interval
from benchmarks.timing import interleave

MUST_ROWS = 1_000_000  # ratios are judged from this size on
MUST_SHARE, AIM_SHARE = 0.4, 0.6
MUST_RATIO = 5.0
MUST_INDEXED = 0.6
MIB = 1 << 20
BUFFER_MIB = 8  # SVDB_BUFFER_SIZE's default
MUST_MEMORY_MIB = BUFFER_MIB + 64
KINDS = ("report", "mail", "note", "page")


def make_records(rows: int, dim: int, with_metadata: bool) -> Records:
    """Reproducible rows with string ids and, when asked for, four small values each."""
    vectors = np.random.default_rng(7).random((rows, dim), dtype=np.float32)
    metadata = None
    if with_metadata:
        metadata = [
            {
                "year": 2000 + row % 25,
                "kind": KINDS[row % 4],
                "chars": row % 5000,
                "score": row / rows,
            }
            for row in range(rows)
        ]
    return Records(srvdb_store.row_ids(rows, "document-"), vectors, metadata)


def fresh(folder: Path) -> Path:
    """An empty folder, with nothing of earlier rounds still on its way to the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    return folder


def write_plainly(folder: Path, rows: Any, ids: bytes) -> float:
    """Seconds to write the same bytes in order, in pieces of 8 MiB, and to sync each file once."""
    start = time.perf_counter()
    for name, content in (("rows", memoryview(rows).cast("B")), ("ids", memoryview(ids))):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for begin in range(0, len(content), 8 << 20):
                piece = content[begin : begin + (8 << 20)]
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return time.perf_counter() - start


def against_writing(options: argparse.Namespace, report: Report) -> None:
    records = make_records(options.rows, options.dim, with_metadata=False)
    ids = "".join(records.ids).encode()
    folder = options.cache / "ingest"
    rates = interleave(
        {
            "srvdb": lambda: options.rows / STORES["srvdb"](fresh(folder), records),
            "writing": lambda: options.rows / write_plainly(fresh(folder), records.rows, ids),
        },
        options.rounds,
    )
    shutil.rmtree(folder, ignore_errors=True)
    ratio = rates["srvdb"].over(rates["writing"])
    text = (
        f"{with_interval(ratio)} × plain writing ({rates['srvdb'].median:,.0f} / "
        f"{rates['writing'].median:,.0f} rows/s)"
    )
    title = f"add {options.rows:,} × {options.dim}, no metadata"
    detail = {name: {"rows_per_s": samples.values} for name, samples in rates.items()}
    reached = ratio.median >= MUST_SHARE if options.rows >= MUST_ROWS else None
    must = "" if reached is None else f"≥ {MUST_SHARE} × plain writing (aim {AIM_SHARE})"
    report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def against_stores(options: argparse.Namespace, report: Report) -> None:
    records = make_records(options.metadata_rows, options.dim, with_metadata=True)
    folder = options.cache / "ingest"
    names = ["srvdb"]
    few = Records(records.ids[:100], records.rows[:100], (records.metadata or [])[:100])
    for name in options.stores:
        try:
            STORES[name](fresh(folder), few)
            names.append(name)
        except ImportError as error:
            report.skip(f"{name}: {error}")
    rates = interleave(
        {
            name: lambda name=name: options.metadata_rows / STORES[name](fresh(folder), records)
            for name in names
        },
        options.metadata_rounds,
        warm_up=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    detail = {name: {"rows_per_s": samples.values} for name, samples in rates.items()}
    title = f"add {options.metadata_rows:,} × {options.dim}, small metadata"
    for name in names[1:]:
        ratio = rates["srvdb"].over(rates[name])
        text = (
            f"{with_interval(ratio)} × {name} ({rates['srvdb'].median:,.0f} / "
            f"{rates[name].median:,.0f} rows/s)"
        )
        judged = name == "zvec" and options.metadata_rows >= MUST_ROWS
        reached = ratio.median >= MUST_RATIO if judged else None
        must = f"≥ {MUST_RATIO:g} × zvec" if judged else ""
        report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def rate_of_adding(folder: Path, records: Records, fields: str | list[str]) -> float:
    """Rows a second until `persist()` returns, with so many of the fields indexed."""
    with srvdb_store.create(fresh(folder), "l2", indexed_fields=fields) as db:
        start = time.perf_counter()
        db.add_batch(records.ids, records.rows, records.metadata)
        db.persist()
        return len(records.ids) / (time.perf_counter() - start)


def against_no_index(options: argparse.Namespace, report: Report) -> None:
    records = make_records(options.metadata_rows, options.dim, with_metadata=True)
    for row, metadata in enumerate(records.metadata or []):
        metadata["flag"] = row % 7 == 0
    folder = options.cache / "ingest"
    rates = interleave(
        {
            "indexed": lambda: rate_of_adding(folder, records, "all"),
            "none": lambda: rate_of_adding(folder, records, []),
        },
        options.metadata_rounds,
    )
    shutil.rmtree(folder, ignore_errors=True)
    ratio = rates["indexed"].over(rates["none"])
    text = (
        f"{with_interval(ratio)} × adding with none ({rates['indexed'].median:,.0f} / "
        f"{rates['none'].median:,.0f} rows/s)"
    )
    title = f"add {options.metadata_rows:,} × {options.dim}, 5 indexed fields"
    detail = {name: {"rows_per_s": samples.values} for name, samples in rates.items()}
    reached = ratio.median >= MUST_INDEXED if options.metadata_rows >= MUST_ROWS else None
    must = "" if reached is None else f"≥ {MUST_INDEXED} × adding with none"
    report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def add_and_watch(rows_path: Path, folder: Path, mode: str) -> None:
    """What the child does: add rows of a mapped file and print its memory as JSON."""
    rows = np.load(rows_path, mmap_mode="r")
    ids = srvdb_store.row_ids(len(rows), "document-")
    with srvdb_store.create(folder, "l2", mode=mode, durability="os") as db:
        db.add_batch(ids[:1], rows[:1])  # whatever is made once is made now
        more_ids, more_rows = ids[1:], rows[1:]  # a list of its own, so not under watch
        with PeakAnonymous() as watched:
            db.add_batch(more_ids, more_rows)
            # Before persist(), which may hand the graph over to a mapped file.
            graph = int(srvdb_store.stat(db, "graph_memory_bytes"))
            db.persist()
        after = anonymous_now()
    print(
        json.dumps({"start": watched.start, "peak": watched.peak, "after": after, "graph": graph})
    )


def memory(options: argparse.Namespace, report: Report) -> None:
    folder = fresh(options.cache / "ingest")
    rows_path = folder / "rows.npy"
    np.save(rows_path, make_records(options.rows, options.dim, with_metadata=False).rows)
    for mode in ("flat", "auto"):
        command = [
            sys.executable,
            "-m",
            "benchmarks.ingest",
            "--watch",
            str(rows_path),
            str(folder / "db"),
            mode,
        ]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"adding in a fresh process failed:\n{done.stderr}")
        seen = json.loads(done.stdout)
        grown = (seen["peak"] - seen["start"] - seen["graph"]) / MIB
        title = f"anonymous memory while adding {options.rows:,} × {options.dim}, mode {mode}"
        text = f"{grown:.0f} MiB (without a graph of {seen['graph'] / MIB:.0f} MiB)"
        must = f"≤ {MUST_MEMORY_MIB} MiB (buffer + 64 MiB)"
        report.add(Measure(title, must, text, grown, reached=grown <= MUST_MEMORY_MIB, detail=seen))
    shutil.rmtree(folder, ignore_errors=True)


def main() -> Path | None:
    parser = arguments(__doc__, rows=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--metadata-rows", type=int, help="rows with metadata (default: --rows)")
    parser.add_argument("--metadata-rounds", type=int, default=3, help="rounds with metadata")
    parser.add_argument(
        "--stores", nargs="*", default=["zvec", "lancedb"], choices=["zvec", "lancedb"]
    )
    parser.add_argument("--only", nargs="+", default=["writing", "stores", "index", "memory"])
    parser.add_argument("--watch", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        rows_path, folder, mode = options.watch
        add_and_watch(Path(rows_path), Path(folder), mode)
        return None
    options.metadata_rows = options.metadata_rows or options.rows
    report = Report("ingest", options.out)
    parts = {
        "writing": against_writing,
        "stores": against_stores,
        "index": against_no_index,
        "memory": memory,
    }
    for name in options.only:
        parts[name](options, report)
    return report.finish()


if __name__ == "__main__":
    main()
