"""Reopening a million-row database whose graph is linked, to the first answer, in fresh processes.

Each process imports srvdb and NumPy, takes its memory, then opens the database and asks one
query: the time, the page faults and the growth of anonymous memory are from there. Once with the
files in the page cache, once (told, not required) with them dropped from it. Of the real sets
(`--sets`; none to leave them out), then of made rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import datasets
from benchmarks.datasets import VectorSet
from benchmarks.ingest import make_records
from benchmarks.memory import forget_files, resident, size_on_disk, warm_files
from benchmarks.peers import registry, srvdb_store
from benchmarks.report import HERE, Measure, Report, arguments, with_interval
from benchmarks.timing import Samples

MUST_MS = 5.0  # of the made rows
MUST_MB = 30.0
MUST_OPEN_MS, MUST_ANSWER_MS = 1.0, 2.0  # of the real set
MUST_SET = "sift-photos-957k"


def open_and_ask(path: Path, query_path: Path) -> None:
    """What the child does: open, ask, and print what it took as JSON."""
    import srvdb

    query = np.load(query_path)
    before, faults = resident(), resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    db = srvdb.open(str(path))
    opened = time.perf_counter()
    hits = db.search(query, 10)
    done = time.perf_counter()
    usage, after = resource.getrusage(resource.RUSAGE_SELF), resident()
    answer = {
        "open_ms": (opened - start) * 1e3,
        "answer_ms": (done - start) * 1e3,
        "anonymous_mb": (after.anonymous - before.anonymous) / 1e6,
        "file_mb": (after.file - before.file) / 1e6,
        "minor_faults": usage.ru_minflt - faults.ru_minflt,
        "major_faults": usage.ru_majflt - faults.ru_majflt,
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


def set_database(name: str, options: argparse.Namespace) -> tuple[VectorSet, Path, Path]:
    """The database over a real set that other measures use too, and a query from the set."""
    data = datasets.load(name)
    index = registry.from_spec("srvdb")
    registry.build_if_missing(index, data, options.cache, rebuild=options.rebuild)
    folder = registry.folder_of(index, data, options.cache)
    np.save(folder / "query.npy", data.queries[0])
    return data, folder / "index", folder / "query.npy"


def ask_rounds(path: Path, query: Path, rounds: int, cached: bool) -> list[dict[str, float]]:
    runs = []
    for _ in range(rounds):
        (warm_files if cached else forget_files)(path)
        runs.append(ask_afresh(path, query))
    return runs


def measure_set(name: str, options: argparse.Namespace, report: Report) -> None:
    data, path, query = set_database(name, options)
    for cached in (True, False):
        runs = ask_rounds(path, query, options.rounds, cached)
        state = "files cached" if cached else "files not cached"
        minor, major = (
            Samples(tuple(run[f"{kind}_faults"] for run in runs)).median
            for kind in ("minor", "major")
        )
        for what, field, must in (
            ("open", "open_ms", MUST_OPEN_MS),
            ("open to the first answer", "answer_ms", MUST_ANSWER_MS),
        ):
            taken = Samples(tuple(run[field] for run in runs))
            required = cached and data.name == MUST_SET
            faults = f" ({minor:,.0f} minor and {major:,.0f} major page faults in all)"
            report.add(
                Measure(
                    f"{what}, {data.name}, {len(data.base):,} rows, {state}",
                    f"< {must:g} ms" if required else "",
                    with_interval(taken, "ms", 3) + faults,
                    taken.median,
                    taken.interval,
                    taken.median < must if required else None,
                    {"runs": runs},
                )
            )


def main() -> Path | None:
    parser = arguments(__doc__, sets=["sift-957k"], rows=1_000_000)
    parser.set_defaults(rounds=15)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    parser.add_argument("--ask", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        open_and_ask(*options.ask)
        return None
    report = Report("reopen", options.out)
    for name in options.sets:
        try:
            measure_set(name, options, report)
        except FileNotFoundError as error:
            report.skip(str(error))
    if options.rows:
        path, query = make_database(options)
        for cached in (True, False):
            runs = ask_rounds(path, query, options.rounds, cached)
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
