"""Bytes of memory a row that searching takes: codes, links and what belongs to them.

A fresh process opens the database and asks many queries widely, so that nearly every page of what
a search uses has been touched. Counted are its anonymous memory and the resident pages of every
mapped file but the float32 rows; beside it, the whole size of those files. The rows are mapped,
read to rerank alone, and may be dropped at any time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import datasets
from benchmarks.datasets import VectorSet
from benchmarks.memory import mapped_files, resident
from benchmarks.peers import registry, srvdb_store
from benchmarks.report import HERE, Measure, Report, arguments

MUST_BYTES = 1200
MUST_DIM = 768
ROWS_FILE = "vectors.bin"
EFFORT = 400


def ask_widely(path: Path, queries: Path) -> None:
    """What the child does; prints what is resident as JSON."""
    import srvdb

    asked = np.load(queries)
    before = resident()
    with srvdb.open(str(path)) as db:
        for query in asked:
            db.search(query, 10, ef=EFFORT)
        after, files = resident(), mapped_files(path)
        rows = srvdb_store.stat(db, "rows")
    print(json.dumps({"anonymous": after.anonymous - before.anonymous, "files": files, "n": rows}))


def measure_set(data: VectorSet, options: argparse.Namespace, report: Report) -> None:
    index = registry.from_spec(options.srvdb)
    registry.build_if_missing(index, data, options.cache)
    folder = registry.folder_of(index, data, options.cache)
    np.save(folder / "queries.npy", data.queries)
    words = [str(folder / "index"), str(folder / "queries.npy")]
    command = [sys.executable, "-m", "benchmarks.footprint", "--ask", *words]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"searching in a fresh process failed:\n{done.stderr}")
    found = json.loads(done.stdout)
    sizes = {path.name: path.stat().st_size for path in (folder / "index").rglob("*")}
    counted = {name: size for name, size in found["files"].items() if name != ROWS_FILE}
    rows = found["n"]
    used = (found["anonymous"] + sum(counted.values())) / rows
    whole = (found["anonymous"] + sum(sizes.get(name, 0) for name in counted)) / rows
    parts = ", ".join(f"{name} {size / rows:.0f}" for name, size in sorted(counted.items()))
    required = data.dim == MUST_DIM and options.srvdb == "srvdb"
    report.add(
        Measure(
            f"memory a row for search, {data.name}, {rows:,} × {data.dim}",
            f"≤ {MUST_BYTES:,} bytes" if required else "",
            f"{used:,.0f} bytes (own {found['anonymous'] / rows:.0f}, {parts}; {whole:,.0f} with "
            f"every page of these; besides, {ROWS_FILE} "
            f"{found['files'].get(ROWS_FILE, 0) / rows:,.0f} of "
            f"{sizes.get(ROWS_FILE, 0) / rows:,.0f})",
            used,
            None,
            used <= MUST_BYTES if required else None,
            found,
        )
    )


def main() -> Path | None:
    parser = arguments(__doc__, sets=["proposals-768"])
    parser.add_argument("--srvdb", default="srvdb", help="build parameters: srvdb:m=24")
    parser.add_argument("--ask", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask_widely(*options.ask)
        return None
    report = Report("footprint", options.out)
    for data in datasets.load_present(options.sets):
        measure_set(data.head(options.rows), options, report)
    return report.finish()


if __name__ == "__main__":
    main()
