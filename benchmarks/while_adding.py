"""How much searches slow down while another thread adds rows and the graph takes them in.

One thread searches all the time, one query after another; another adds rows at a steady rate, in
batches of a tenth of a second, and srvdb links them in the background. The 99th percentile of the
searches beside that is compared with that of the searches right before, round by round. Linking
keeps up when the rows that wait for it stay fewer than two seconds' worth.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets
from benchmarks.datasets import Floats, VectorSet
from benchmarks.maintenance import Searcher
from benchmarks.peers import srvdb_store
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.timing import Samples

MUST_RATIO = 2.0
BATCHES_A_SECOND = 10
BEHIND_S = 2.0  # of adding: rows that may wait


def add_steadily(
    db: Any, rows: Floats, first: int, a_second: int, seconds: float
) -> dict[str, int]:
    """Add rows `first` on in even batches; returns how many, and the most that waited."""
    batch = max(1, a_second // BATCHES_A_SECOND)
    start, done, waited = time.perf_counter(), 0, 0
    while done < a_second * seconds and first + done < len(rows):
        due = start + done / a_second
        time.sleep(max(0.0, due - time.perf_counter()))
        chosen = range(first + done, min(first + done + batch, len(rows)))
        db.add_batch([str(row) for row in chosen], rows[chosen.start : chosen.stop])
        done += len(chosen)
        waited = max(waited, int(srvdb_store.stat(db, "unlinked_rows")))
    return {"added": done, "waited": waited}


def percentiles(taken: np.ndarray[Any, Any], state: str) -> dict[str, float]:
    return {f"{state}_p{p}_ms": float(np.percentile(taken, p)) for p in (50, 99)}


def run_round(
    db: Any, searcher: Searcher, data: VectorSet, first: int, options: argparse.Namespace
) -> dict[str, float]:
    """Searches alone, then beside adding from row `first` on."""
    quiet = searcher.run_for(options.seconds / 2)
    kept: dict[str, int] = {}
    beside, taken = searcher.run_beside(
        lambda: kept.update(add_steadily(db, data.base, first, options.add, options.seconds))
    )
    found = {**percentiles(quiet, "quiet"), **percentiles(beside, "beside")}
    return {**found, **kept, "seconds": taken, "searches": len(beside)}


def measure_set(data: VectorSet, options: argparse.Namespace, report: Report) -> None:
    work = options.cache / "while-adding"
    linked = min(options.base_rows, len(data.base) // 2)
    rounds: list[dict[str, float]] = []
    with srvdb_store.create(work, data.metric, mode="hnsw") as db:
        db.add_batch(srvdb_store.row_ids(linked), data.base[:linked])
        db.optimize(threads=0)
        searcher, first = Searcher(db, data.queries), linked
        for number in range(-1, options.rounds):  # the first warms up
            rounds.append(run_round(db, searcher, data, first, options))
            first += int(rounds[-1]["added"])
            print(f"  round {number}: {rounds[-1]}", flush=True)
    shutil.rmtree(work, ignore_errors=True)
    add_measure(report, data.name, linked, options.add, rounds[1:])


def main() -> Path:
    parser = arguments(__doc__, sets=["sift-957k"])
    parser.add_argument("--base-rows", type=int, default=300_000, help="rows linked beforehand")
    parser.add_argument("--add", type=int, default=5000, help="rows a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    options = parser.parse_args()
    report = Report("while_adding", options.out)
    for data in datasets.load_present(options.sets):
        measure_set(data.head(options.rows), options, report)
    return report.finish()


def add_measure(
    report: Report, name: str, linked: int, a_second: int, rounds: list[dict[str, float]]
) -> None:
    ratio = Samples(tuple(r["beside_p99_ms"] / r["quiet_p99_ms"] for r in rounds))
    beside = Samples(tuple(r["beside_p99_ms"] for r in rounds)).median
    quiet = Samples(tuple(r["quiet_p99_ms"] for r in rounds)).median
    waited = max(r["waited"] for r in rounds)
    added = sum(r["added"] for r in rounds) / sum(r["seconds"] for r in rounds)
    keeps_up = waited <= BEHIND_S * a_second and added >= 0.9 * a_second
    text = (
        f"{with_interval(ratio, '×')} ({beside:.3f} against {quiet:.3f} ms; {added:,.0f} rows/s "
        f"added; at most {waited:,.0f} rows waited to be linked)"
    )
    report.add(
        Measure(
            f"p99 of searches while {a_second:,} rows/s are added, {name}, from {linked:,} rows",
            f"≤ {MUST_RATIO:g} × idle, linking keeps up",
            text,
            ratio.median,
            ratio.interval,
            ratio.median <= MUST_RATIO and keeps_up,
            {"rounds": rounds},
        )
    )


if __name__ == "__main__":
    main()
