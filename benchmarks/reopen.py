"""Reopening a million-row database whose graph is linked, to the first answer, in fresh processes.

Each process imports srvdb and NumPy, takes its memory, then opens the database and asks one
query: the time, the page faults and the growth of anonymous memory are from there. Of the real
sets (`--sets`; none to leave them out), then of made rows; each in three states of the page cache,
since the size of its pages decides how many faults there are and what one costs: files as an
earlier process of srvdb left them, which is what must be fast; read from beginning to end, which
begins with the smallest pages; not cached.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

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


class Cache(NamedTuple):
    """What the page cache holds of a database's files when it is opened."""

    label: str
    required: bool  # whether the limits hold for it, or its figures are only told


USED = Cache("files cached by an earlier process", required=True)
READ = Cache("files cached by reading them through", required=False)
DROPPED = Cache("files not cached", required=False)


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


def bring_in_and_ask(path: Path, query_path: Path) -> None:
    """What the process before does: have all that walks read in memory, and ask."""
    import srvdb

    with srvdb.open(str(path), prefault=True) as db:
        held = -1
        while (now := resident().file) > held:  # until what goes on in the background is done
            held = now
            time.sleep(0.05)
        db.search(np.load(query_path), 10)


def in_a_process(what: str, path: Path, query: Path) -> str:
    """What a fresh process prints that opens the database."""
    command = [sys.executable, "-m", "benchmarks.reopen", what, str(path), str(query)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"opening in a fresh process failed:\n{done.stderr}")
    return done.stdout


def ask_rounds(
    path: Path, query: Path, rounds: int
) -> Iterator[tuple[Cache, list[dict[str, float]]]]:
    """Each state of the page cache, reached from nothing cached, and what opening in it took."""
    prepare: dict[Cache, Callable[[], object]] = {
        USED: lambda: in_a_process("--use", path, query),
        READ: lambda: warm_files(path),
        DROPPED: lambda: forget_files(path),
    }
    for cache, reach in prepare.items():
        forget_files(path)
        runs = []
        for _ in range(rounds):
            reach()  # again, as systems may drop what is long unused
            runs.append(json.loads(in_a_process("--ask", path, query)))
        yield cache, runs


def measure_set(name: str, options: argparse.Namespace, report: Report) -> None:
    data, path, query = set_database(name, options)
    for cache, runs in ask_rounds(path, query, options.rounds):
        minor, major = (
            Samples(tuple(run[f"{kind}_faults"] for run in runs)).median
            for kind in ("minor", "major")
        )
        for what, field, must in (
            ("open", "open_ms", MUST_OPEN_MS),
            ("open to the first answer", "answer_ms", MUST_ANSWER_MS),
        ):
            taken = Samples(tuple(run[field] for run in runs))
            required = cache.required and data.name == MUST_SET
            faults = f" ({minor:,.0f} minor and {major:,.0f} major page faults in all)"
            report.add(
                Measure(
                    f"{what}, {data.name}, {len(data.base):,} rows, {cache.label}",
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
    parser.add_argument("--use", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        open_and_ask(*options.ask)
        return None
    if options.use:
        bring_in_and_ask(*options.use)
        return None
    report = Report("reopen", options.out)
    for name in options.sets:
        try:
            measure_set(name, options, report)
        except FileNotFoundError as error:
            report.skip(str(error))
    if options.rows:
        path, query = make_database(options)
        for cache, runs in ask_rounds(path, query, options.rounds):
            add_measures(report, runs, cache, options.rows, size_on_disk(path))
    return report.finish()


def add_measures(
    report: Report, runs: list[dict[str, float]], cache: Cache, rows: int, disk: int
) -> None:
    taken = Samples(tuple(run["answer_ms"] for run in runs))
    grown = Samples(tuple(run["anonymous_mb"] for run in runs))
    detail = {"runs": runs, "bytes_on_disk": disk}
    report.add(
        Measure(
            f"reopen {rows:,} rows to the first answer, {cache.label}",
            f"< {MUST_MS:g} ms" if cache.required else "",
            with_interval(taken, "ms"),
            taken.median,
            taken.interval,
            taken.median < MUST_MS if cache.required else None,
            detail,
        )
    )
    report.add(
        Measure(
            f"anonymous memory of that, {cache.label}",
            f"< {MUST_MB:g} MB" if cache.required else "",
            with_interval(grown, "MB", 1),
            grown.median,
            grown.interval,
            grown.median < MUST_MB if cache.required else None,
        )
    )


if __name__ == "__main__":
    main()
