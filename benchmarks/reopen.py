"""Reopening a million-row database whose graph is linked, to the first answer, in fresh processes.

Each process imports srvdb and NumPy, takes its memory, then opens the database and asks one
query: the time and the growth of anonymous memory are from there. Once with the files in the page
cache, once (told, not required) with them dropped from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.ingest import make_records
from benchmarks.memory import forget_files, resident, size_on_disk, warm_files
from benchmarks.peers import srvdb_store
from benchmarks.report import HERE, Measure, Report, arguments, with_interval
from benchmarks.timing import Samples

MUST_MS = 5.0
MUST_MB = 30.0


def open_and_ask(path: Path, query_path: Path) -> None:
    """What the child does: open, ask, and print what it took as JSON."""
    import srvdb

    query = np.load(query_path)
    before = resident()
    start = time.perf_counter()
    db = srvdb.open(str(path))
    opened = time.perf_counter()
    hits = db.search(query, 10)
    done = time.perf_counter()
    after = resident()
    answer = {
        "open_ms": (opened - start) * 1e3,
        "answer_ms": (done - start) * 1e3,
        "anonymous_mb": (after.anonymous - before.anonymous) / 1e6,
        "file_mb": (after.file - before.file) / 1e6,
        "hits": len(hits),
        "searching": str(srvdb_store.stat(db, "searching")),
    }
    db.close()
    print(json.dumps(answer))


def ask_afresh(path: Path, query: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.reopen", "--ask", str(path), str(query)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"opening in a fresh process failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def make_database(options: argparse.Namespace) -> tuple[Path, Path]:
    """The database of the ingest measure, linked; kept in the cache for this build of srvdb."""
    folder = options.cache / f"reopen-{options.rows}x{options.dim}-{srvdb_store.build_id()}"
    path, query = folder / "db", folder / "query.npy"
    if options.rebuild or not query.exists():
        folder.mkdir(parents=True, exist_ok=True)
        records = make_records(options.rows, options.dim, with_metadata=False)
        print(f"  filling and linking {options.rows:,} rows ...", flush=True)
        with srvdb_store.create(path, "l2", mode="hnsw", durability="os") as db:
            db.add_batch(records.ids, records.rows)
            db.optimize(threads=0)
        np.save(query, records.rows[options.rows // 3] + np.float32(0.01))
    return path, query


def main() -> Path | None:
    parser = arguments(__doc__, rows=1_000_000)
    parser.set_defaults(rounds=15)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    parser.add_argument("--ask", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        open_and_ask(*options.ask)
        return None
    report = Report("reopen", options.out)
    path, query = make_database(options)
    for cached in (True, False):
        runs = []
        for _ in range(options.rounds):
            (warm_files if cached else forget_files)(path)
            runs.append(ask_afresh(path, query))
        add_measures(report, runs, cached, options.rows, size_on_disk(path))
    return report.finish()


def add_measures(
    report: Report, runs: list[dict[str, float]], cached: bool, rows: int, disk: int
) -> None:
    state = "files cached" if cached else "files not cached"
    taken = Samples(tuple(run["answer_ms"] for run in runs))
    grown = Samples(tuple(run["anonymous_mb"] for run in runs))
    detail = {"runs": runs, "bytes_on_disk": disk}
    report.add(
        Measure(
            f"reopen {rows:,} rows to the first answer, {state}",
            f"< {MUST_MS:g} ms" if cached else "",
            with_interval(taken, "ms"),
            taken.median,
            taken.interval,
            taken.median < MUST_MS if cached else None,
            detail,
        )
    )
    report.add(
        Measure(
            f"anonymous memory of that, {state}",
            f"< {MUST_MB:g} MB" if cached else "",
            with_interval(grown, "MB", 1),
            grown.median,
            grown.interval,
            grown.median < MUST_MB if cached else None,
        )
    )


if __name__ == "__main__":
    main()
