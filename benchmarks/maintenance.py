"""How much a running compaction or snapshot slows searches down, at a million rows.

One thread searches all the time, one query after another; another thread compacts (after 5 % of
the rows were replaced) or takes a snapshot (and drops it). The 99th percentile of the searches
that ran beside it is compared with that of the searches right before, round by round.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ingest import make_records
from benchmarks.peers import srvdb_store
from benchmarks.reopen import make_database
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.timing import Samples

MUST_RATIO = 2.0
QUIET_SECONDS = 3.0
BATCH = 1000


class Searcher:
    """Searches in the calling thread and keeps what each took, in milliseconds."""

    def __init__(self, db: Any, queries: Any) -> None:
        self._db = db
        self._queries = queries
        self._next = 0

    def run_while(self, more: Callable[[], bool]) -> np.ndarray[Any, Any]:
        taken = []
        while more():
            query = self._queries[self._next % len(self._queries)]
            self._next += 1
            start = time.perf_counter()
            self._db.search(query, 10)
            taken.append((time.perf_counter() - start) * 1e3)
        return np.array(taken)

    def run_for(self, seconds: float) -> np.ndarray[Any, Any]:
        end = time.perf_counter() + seconds
        return self.run_while(lambda: time.perf_counter() < end)

    def run_beside(self, work: Callable[[], Any]) -> tuple[np.ndarray[Any, Any], float]:
        """What searches took while `work` ran in another thread, and its seconds."""
        failures: list[BaseException] = []
        seconds: list[float] = []

        def run() -> None:
            start = time.perf_counter()
            try:
                work()
            except BaseException as error:
                failures.append(error)
            seconds.append(time.perf_counter() - start)

        thread = threading.Thread(target=run)
        thread.start()
        taken = self.run_while(thread.is_alive)
        thread.join()
        if failures:
            raise failures[0]
        return taken, seconds[0]


def replace_rows(db: Any, ids: list[str], rows: Any, share: float, seed: int) -> None:
    chosen = np.random.default_rng(seed).choice(len(ids), int(len(ids) * share), replace=False)
    for first in range(0, len(chosen), BATCH):
        piece = chosen[first : first + BATCH]
        db.upsert([ids[i] for i in piece], rows[piece])
    db.persist()


def add_measure(report: Report, name: str, rounds: list[dict[str, float]], rows: int) -> None:
    ratio = Samples(tuple(r["beside_p99_ms"] / r["quiet_p99_ms"] for r in rounds))
    seconds = Samples(tuple(r["seconds"] for r in rounds))
    report.add(
        Measure(
            f"p99 of searches beside a running {name}, {rows:,} × 128",
            f"< {MUST_RATIO:g} × without",
            f"{with_interval(ratio, '×')} (the {name} takes {seconds.median:.2f} s)",
            ratio.median,
            ratio.interval,
            ratio.median < MUST_RATIO,
            {"rounds": rounds},
        )
    )


def main() -> Path:
    parser = arguments(__doc__, rows=1_000_000)
    parser.set_defaults(rounds=5)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    options: argparse.Namespace = parser.parse_args()
    report = Report("maintenance", options.out)
    source, _ = make_database(options)
    work = options.cache / "maintenance-work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work)
    records = make_records(options.rows, options.dim, with_metadata=False)
    ids = list(records.ids)
    queries = records.rows[:: max(1, options.rows // 1000)] + np.float32(0.01)
    compactions: list[dict[str, float]] = []
    snapshots: list[dict[str, float]] = []
    try:
        with srvdb_store.open_linked(work) as db:
            searcher = Searcher(db, queries)
            for number in range(options.rounds):
                replace_rows(db, ids, records.rows, 0.05, number)
                db.optimize(threads=0)
                for name, job, kept in (
                    ("snapshot", lambda n=number: db.create_snapshot(f"bench-{n}"), snapshots),
                    ("compaction", db.compact, compactions),
                ):
                    quiet = searcher.run_for(QUIET_SECONDS)
                    beside, seconds = searcher.run_beside(job)
                    kept.append(
                        {
                            "quiet_p50_ms": float(np.percentile(quiet, 50)),
                            "quiet_p99_ms": float(np.percentile(quiet, 99)),
                            "beside_p50_ms": float(np.percentile(beside, 50)),
                            "beside_p99_ms": float(np.percentile(beside, 99)),
                            "searches": len(beside),
                            "seconds": seconds,
                        }
                    )
                    print(f"  {name} {number}: {kept[-1]}", flush=True)
                db.drop_snapshot(f"bench-{number}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    add_measure(report, "compaction", compactions, options.rows)
    add_measure(report, "snapshot", snapshots, options.rows)
    return report.finish()


if __name__ == "__main__":
    main()
