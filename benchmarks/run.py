"""Run every measure, one after the other, and put them into one table.

`--quick` takes the small sets and a few rounds, to see that everything runs; its figures mean
little. Writes `summary.json` and `summary.md` beside the measures' own JSON files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import HERE, machine

FULL: dict[str, list[str]] = {
    "exact_recall": [],
    "hnsw_recall": [],
    "deletes": [],
    "filters": [],
    "columns": [],
    "exact_speed": [],
    "reopen": [],
    "ingest": [],
    "durability": [],
    "qps": [],
    "build": [],
    "maintenance": [],
    "while_adding": [],
    "footprint": [],
    "tuning": [],
}
QUICK: dict[str, list[str]] = {
    "exact_recall": ["--sets", "sift-5k", "words:ip", "--queries", "100", "--sample", "20"],
    "hnsw_recall": ["--sets", "sift-5k", "words"],
    "deletes": ["--sets", "sift-5k", "--rounds", "3", "--queries", "100"],
    "filters": ["--sets", "notes", "--rounds", "3", "--peers", "zvec"],
    "columns": ["--rows", "50000"],
    "exact_speed": ["--sets", "sift-80k", "--rounds", "3", "--batch", "1000"],
    "reopen": ["--sets", "sift-5k", "--rows", "20000", "--rounds", "3"],
    "ingest": [
        "--rows",
        "50000",
        "--rounds",
        "3",
        "--metadata-rows",
        "10000",
        "--metadata-rounds",
        "1",
    ],
    "durability": [
        *["--rows", "20000", "--burst", "2000", "--synced", "20", "--rounds", "3"],
        *["--base-rows", "20000", "--full-buffer", "2000", "--most-log", "20000"],
    ],
    "qps": [
        *["--sets", "sift-5k", "words", "--rounds", "3", "--queries", "100"],
        *["--settings", "first", "--modes", "one"],
    ],
    "build": ["--sets", "sift-5k"],
    "maintenance": ["--rows", "20000", "--rounds", "2"],
    "while_adding": [
        *["--sets", "sift-80k", "--rows", "40000", "--base-rows", "20000"],
        *["--add", "1000", "--seconds", "1", "--rounds", "2"],
    ],
    "footprint": ["--sets", "sift-5k"],
    "tuning": ["--sets", "sift-5k"],
}


def run_measure(name: str, extra: list[str], folders: list[str]) -> tuple[bool, float]:
    start = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{name}", *extra, *folders]
    done = subprocess.run(command, cwd=HERE.parent)
    return done.returncode == 0, time.perf_counter() - start


def table(records: list[dict[str, Any]]) -> str:
    """Every measure as a line of Markdown; a miss says so."""
    lines = ["| measure | must reach | measured | | command |", "|---|---|---|---|---|"]
    for record in records:
        for measure in record["measures"]:
            mark = {True: "reached", False: "**missed**", None: ""}[measure["reached"]]
            cells = [measure["measure"], measure["must_reach"], measure["measured"], mark]
            lines.append("| " + " | ".join([*cells, f"`{record['command']}`"]) + " |")
        for reason in record["skipped"]:
            lines.append(f"| {reason} | | skipped | | `{record['command']}` |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sets, few rounds")
    parser.add_argument("--only", nargs="+", choices=list(FULL), default=list(FULL))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    out = (options.out / "quick" if options.quick else options.out).resolve()
    folders = ["--out", str(out), "--cache", str(options.cache.resolve())]
    failed, records = [], []
    for name in options.only:
        worked, taken = run_measure(name, plan[name], folders)
        if worked:
            records.append({**json.loads((out / f"{name}.json").read_text()), "seconds": taken})
        else:
            failed.append(name)
    summary = {"machine": machine(), "quick": options.quick, "failed": failed, "records": records}
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = table(records)
    (out / "summary.md").write_text(text)
    print(f"\n{text}\nwrote {out / 'summary.json'} and summary.md")
    misses = sum(m["reached"] is False for record in records for m in record["measures"])
    print(f"{misses} missed" + (f"; did not run: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
