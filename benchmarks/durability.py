"""What an acknowledged change costs, as a share of what the machine can do; and coming back.

Single adds: `db.add([id], row, [{"n": i}])`, one row a call, against bare `os.write` calls, one a
row, of the very bytes that the log got for these rows (record headers and checksums included), cut
out of the log of an earlier run (10,000 records, again and again); both on the same disk, in turns,
each into a fresh file. Rows come as float32 arrays of shape (1, dim), and as lists of one list. A
burst ends before the first checkpoint; the sustained rate takes in the checkpoints that 200,000
rows bring, on whatever processors are free.

At durability "disk": one writer from Python against `os.write` and `os.fdatasync` of the same
bytes; several writers in C++ with `--program` (srvdb_commit_bench, which the build makes when it is
told to build benchmarks).

Coming back: a process that adds rows one by one to a million is killed, once with a full append
buffer, once with as much log as there can be; the time is that of opening for writing in a fresh
process, the files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ingest import fresh
from benchmarks.memory import warm_files
from benchmarks.peers import srvdb_store
from benchmarks.report import HERE, Measure, Report, arguments, with_interval
from benchmarks.timing import Samples, interleave

#: What rates are taken by; `--clock thread` puts the processor time of the calling thread here.
clock: Callable[[], float] = time.perf_counter

MUST_OS, MUST_DISK, MUST_MS = 0.4, 0.8, 200.0
MUST_GROUP = 8.0
LOG_HEADER, TAIL_HEADER, RECORD_OVERHEAD = 64, 512, 36  # cpp/FORMAT.md


class Adds:
    """Rows to be added one by one, as arrays and as lists."""

    def __init__(self, rows: int, dim: int) -> None:
        self.dim = dim
        self.vectors = np.random.default_rng(3).random((rows, dim), dtype=np.float32)
        self.ids = srvdb_store.row_ids(rows, "document-")
        self.metadata = [{"n": row} for row in range(rows)]

    def head(self, rows: int) -> Adds:
        other = object.__new__(Adds)
        other.dim, other.vectors = self.dim, self.vectors[:rows]
        other.ids, other.metadata = self.ids[:rows], self.metadata[:rows]
        return other

    def arrays(self) -> list[Any]:
        return [self.vectors[row : row + 1] for row in range(len(self.ids))]

    def lists(self) -> list[Any]:
        return [[row] for row in self.vectors.tolist()]


def add_singly(folder: Path, adds: Adds, rows: Sequence[Any], durability: str) -> float:
    """Rows a second, from the first call to the return of the last."""
    with srvdb_store.create(
        fresh(folder) / "db", "l2", dimension=adds.dim, durability=durability
    ) as db:
        add = db.add
        start = clock()
        for name, row, metadata in zip(adds.ids, rows, adds.metadata, strict=True):
            add([name], row, [metadata])
        return len(rows) / (clock() - start)


def write_singly(folder: Path, records: Sequence[bytes], sync: bool) -> float:
    """Records a second with one `os.write` each, and one `os.fdatasync` when it is to be synced."""
    write, fdatasync = os.write, os.fdatasync
    descriptor = os.open(fresh(folder) / "records", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        start = clock()
        if sync:
            for record in records:
                write(descriptor, record)
                fdatasync(descriptor)
        else:
            for record in records:
                write(descriptor, record)
        return len(records) / (clock() - start)
    finally:
        os.close(descriptor)


def records_of(folder: Path, adds: Adds) -> list[bytes]:
    """What the log holds after these rows were added: one record each."""
    folder = fresh(folder) / "db"
    with srvdb_store.create(folder, "l2", dimension=adds.dim, durability="os") as db:
        db.add(["first"], adds.vectors[:1])
        db.persist()  # puts the clock of the next checkpoint back
        for name, row, metadata in zip(adds.ids, adds.arrays(), adds.metadata, strict=True):
            db.add([name], row, [metadata])
        found: dict[int, bytes] = {}
        for log in (folder / "wal").iterdir():
            found.update(cut(log, TAIL_HEADER if log.name == "tail" else LOG_HEADER))
    return [record for _, record in sorted(found.items())][-len(adds.ids) :]


def cut(log: Path, at: int) -> dict[int, bytes]:
    """The records of a file of the log from an offset on, by sequence, up to where they end."""
    content, found, expected = log.read_bytes(), {}, None
    while at + RECORD_OVERHEAD < len(content):
        payload, _, sequence = struct.unpack_from("<IIQ", content, at)
        if sequence == 0 or sequence != (expected or sequence):
            break
        found[sequence] = content[at : at + payload + RECORD_OVERHEAD]
        at += payload + RECORD_OVERHEAD
        expected = sequence + 1
    return found


# ---- single adds -------------------------------------------------------------------------------


def against_writes(options: argparse.Namespace, report: Report) -> None:
    folder = options.cache / "durability"
    for dim in options.dims:
        adds = Adds(options.burst, dim)
        records = records_of(folder, adds.head(min(options.burst, 10_000)))
        records = (records * (options.burst // len(records) + 1))[: options.burst]
        arrays, lists = adds.arrays(), adds.lists()
        rates = interleave(
            {
                "array": lambda a=adds, r=arrays: add_singly(folder, a, r, "os"),
                "write": lambda r=records: write_singly(folder, r, sync=False),
                "list": lambda a=adds, r=lists: add_singly(folder, a, r, "os"),
            },
            options.rounds,
        )
        for form in ("array", "list"):
            title = f'single adds, "os", {dim} dimensions, {form}, burst of {options.burst:,}'
            judged = MUST_OS if form == "array" else None
            add_ratio(report, title, rates[form], rates["write"], judged, len(records[0]))


def sustained(options: argparse.Namespace, report: Report) -> None:
    folder = options.cache / "durability"
    adds = Adds(options.rows, options.dims[0])
    records = records_of(folder, adds.head(min(options.rows, 10_000)))
    records = (records * (options.rows // len(records) + 1))[: options.rows]
    arrays = adds.arrays()
    rates = interleave(
        {
            "add": lambda: add_singly(folder, adds, arrays, "os"),
            "write": lambda: write_singly(folder, records, sync=False),
        },
        options.rounds,
    )
    title = f'single adds, "os", {adds.dim} dimensions, array, {options.rows:,} on end'
    add_ratio(report, title, rates["add"], rates["write"], MUST_OS, len(records[0]))


def one_writer_on_disk(options: argparse.Namespace, report: Report) -> None:
    folder = options.cache / "durability"
    adds = Adds(options.synced, options.dims[0])
    records = records_of(folder, adds)
    arrays = adds.arrays()
    rates = interleave(
        {
            "add": lambda: add_singly(folder, adds, arrays, "disk"),
            "write": lambda: write_singly(folder, records, sync=True),
        },
        options.rounds,
    )
    title = f'single adds, "disk", {adds.dim} dimensions, one writer'
    add_ratio(report, title, rates["add"], rates["write"], MUST_DISK, len(records[0]))


def add_ratio(
    report: Report,
    title: str,
    ours: Samples,
    bare: Samples,
    must: float | None,
    record_bytes: int | None = None,
) -> None:
    ratio = ours.over(bare)
    size = "" if record_bytes is None else f", {record_bytes} bytes each"
    text = (
        f"{with_interval(ratio)} × bare writes "
        f"({ours.median:,.0f} / {bare.median:,.0f} a second{size})"
    )
    detail = {"adds_per_s": ours.values, "writes_per_s": bare.values}
    wanted = "" if must is None else f"≥ {must} × bare writes"
    reached = None if must is None else ratio.median >= must
    report.add(Measure(title, wanted, text, ratio.median, ratio.interval, reached, detail))


def many_writers(options: argparse.Namespace, report: Report) -> None:
    """Runs the C++ program, whose rounds are in turns as well."""
    command = [options.program, str(fresh(options.cache / "durability")), str(options.rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rates = {name: Samples(tuple(values)) for name, values in json.loads(done.stdout).items()}
    many, one, in_memory = rates["16_disk"], rates["1_disk"], rates["1_os"]
    needed = Samples(
        tuple(
            min(MUST_GROUP * a, 0.8 * b) for a, b in zip(one.values, in_memory.values, strict=True)
        )
    )
    share = many.over(needed)
    text = (
        f"{with_interval(many.over(one))} × one writer ({many.median:,.0f} a second; one "
        f'{one.median:,.0f}; bare {rates["bare_disk"].median:,.0f}; at "os" '
        f"{in_memory.median:,.0f})"
    )
    must = f'≥ {MUST_GROUP:g} × one writer, or 0.8 × "os"'
    report.add(
        Measure(
            'adds at "disk", 16 threads, C++',
            must,
            text,
            share.median,
            share.interval,
            share.median >= 1,
            {name: samples.values for name, samples in rates.items()},
        )
    )
    add_ratio(report, 'single adds, "disk", one writer, C++', one, rates["bare_disk"], MUST_DISK)


# ---- coming back -------------------------------------------------------------------------------


def fill_and_die(path: Path, rows: int, dim: int, pending: int) -> None:
    """What the first child does: a checkpointed database, then rows one by one, then its end."""
    adds = Adds(pending, dim)
    options = {"dimension": dim, "durability": "os", "auto_flush_threshold": 1_000_000}
    with srvdb_store.create(path, "l2", mode="flat", **options) as db:
        ids = srvdb_store.row_ids(rows, "base-")
        vectors = np.random.default_rng(4).random((rows, dim), dtype=np.float32)
        db.add_batch(ids, vectors)
        db.persist()
        for name, row, metadata in zip(adds.ids, adds.arrays(), adds.metadata, strict=True):
            db.add([name], row, [metadata])
        os.kill(os.getpid(), signal.SIGKILL)


def open_again(path: Path, rows: int) -> None:
    """What the second child does; prints its time in milliseconds and what it found."""
    import srvdb

    start = time.perf_counter()
    db = srvdb.open(str(path))
    taken_ms = (time.perf_counter() - start) * 1e3
    print(json.dumps({"open_ms": taken_ms, "rows": len(db)}))
    assert len(db) == rows, f"expected {rows} rows, found {len(db)}"
    db.close()


def child(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.durability", *map(str, words)]
    return subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)


def coming_back(options: argparse.Namespace, report: Report) -> None:
    folder = fresh(options.cache / "durability")
    dim = options.dims[0]
    for what, pending, judged in (
        ("a full buffer", options.full_buffer, True),
        ("the most log", options.most_log, False),
    ):
        killed = folder / "killed"
        shutil.rmtree(killed, ignore_errors=True)
        done = child("--fill", killed, options.base_rows, dim, pending)
        if done.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the child was to be killed:\n{done.stderr}")
        log = sum(file.stat().st_size for file in (killed / "wal").iterdir())
        runs = [
            open_copy(killed, folder / "copy", options.base_rows + pending)
            for _ in range(options.rounds)
        ]
        taken = Samples(tuple(runs))
        title = f"opening {options.base_rows:,} × {dim} for writing after a kill, {what}"
        text = f"{with_interval(taken, 'ms', 0)} ({pending:,} rows, {log / 2**20:.0f} MiB of log)"
        reached = taken.median < MUST_MS if judged else None
        must = f"< {MUST_MS:g} ms" if judged else ""
        detail = {"open_ms": taken.values, "log_bytes": log}
        report.add(Measure(title, must, text, taken.median, taken.interval, reached, detail))
    shutil.rmtree(folder, ignore_errors=True)


def open_copy(killed: Path, copy: Path, rows: int) -> float:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(killed, copy)
    os.sync()
    warm_files(copy)
    done = child("--open", copy, rows)
    if done.returncode:
        raise RuntimeError(f"opening after a kill failed:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[0])["open_ms"])


PARTS: dict[str, Callable[[argparse.Namespace, Report], None]] = {
    "burst": against_writes,
    "sustained": sustained,
    "disk": one_writer_on_disk,
    "threads": many_writers,
    "recovery": coming_back,
}


def main() -> Path | None:
    parser = arguments(__doc__, rows=200_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 384, 768])
    parser.add_argument("--burst", type=int, default=20_000, help="rows of a burst")
    parser.add_argument("--synced", type=int, default=200, help='rows of a round at "disk"')
    parser.add_argument("--base-rows", type=int, default=1_000_000, help="rows to come back to")
    parser.add_argument("--full-buffer", type=int, default=14_900, help="rows of a full buffer")
    parser.add_argument("--most-log", type=int, default=200_000, help="rows before the other kill")
    parser.add_argument("--program", help="srvdb_commit_bench of a build with benchmarks")
    parser.add_argument(
        "--clock",
        choices=("wall", "thread"),
        default="wall",
        help="thread: the calling thread's processor time, for a machine that others use too",
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--fill", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--open", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        path, *numbers = options.fill
        fill_and_die(Path(path), *map(int, numbers))
        return None
    if options.open:
        open_again(Path(options.open[0]), int(options.open[1]))
        return None
    if options.clock == "thread":
        global clock
        clock = time.thread_time
    report = Report("durability", options.out)
    for part in options.parts:
        if part == "threads" and not options.program:
            report.skip("writers in C++: no --program")
            continue
        PARTS[part](options, report)
    return report.finish()


if __name__ == "__main__":
    main()
