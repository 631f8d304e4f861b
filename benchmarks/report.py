"""The arguments every measure takes, and the report it leaves, as JSON and as a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.timing import MIN_ROUNDS, Samples

HERE = Path(__file__).resolve().parent
PEERS = (
    *("hnswlib", "faiss-cpu", "usearch", "scalable-vs", "pyvsag", "zvec", "rabitqlib", "voyager"),
    *("ngt", "lancedb", "chromadb", "qdrant-client"),
)


@dataclass
class Measure:
    """One line of the table. `reached` is None for what is only told, not required."""

    measure: str
    must_reach: str
    measured: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    reached: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = platform.processor()
    memory_kb = 0
    for path, key in (("/proc/cpuinfo", "model name"), ("/proc/meminfo", "MemTotal")):
        if Path(path).exists():
            lines = Path(path).read_text().splitlines()
            text = next((line.split(":", 1)[1] for line in lines if line.startswith(key)), "")
            if key == "model name":
                model = text.strip() or model
            else:
                memory_kb = int(text.split()[0]) if text else 0
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_gib": round(memory_kb / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def has_avx512() -> bool:
    """Whether this processor has AVX-512."""
    path = Path("/proc/cpuinfo")
    return path.exists() and " avx512f " in path.read_text()


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def command_line(script: str, words: list[str]) -> str:
    """What to type to measure the same again; where files are kept does not belong to it."""
    kept = list(words)
    for folder in ("--out", "--cache"):
        if folder in kept:
            at = kept.index(folder)
            del kept[at : at + 2]
    return shlex.join(["python", "-m", f"benchmarks.{script}", *kept])


class Report:
    """Collects measures of one script and writes `<out>/<script>.json` when it is finished."""

    def __init__(self, script: str, out: Path) -> None:
        self.script = script
        self.out = out
        self.measures: list[Measure] = []
        self.skipped: list[str] = []
        self.command = command_line(script, sys.argv[1:])
        self.started = time.strftime("%Y-%m-%dT%H:%M:%S")
        print(f"$ {self.command}", flush=True)

    def add(self, measure: Measure) -> None:
        self.measures.append(measure)
        mark = {True: "reached", False: "MISSED", None: ""}[measure.reached]
        must = f"  (must reach {measure.must_reach})" if measure.must_reach else ""
        print(f"  {measure.measure}: {measure.measured}{must} {mark}".rstrip(), flush=True)

    def skip(self, reason: str) -> None:
        self.skipped.append(reason)
        print(f"  skipped: {reason}", flush=True)

    def finish(self) -> Path:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.script}.json"
        record = {
            "command": self.command,
            "started": self.started,
            "machine": machine(),
            "versions": {name: version(name) for name in ("srvdb", "numpy", *PEERS)},
            "measures": [asdict(measure) for measure in self.measures],
            "skipped": self.skipped,
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"  wrote {path}", flush=True)
        return path


def arguments(
    description: str | None, sets: list[str] | None = None, rows: int | None = None
) -> argparse.ArgumentParser:
    """A parser with what all measures share; a measure adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sets is not None:
        parser.add_argument("--sets", nargs="*", default=sets, help="vector sets, by name or file")
    parser.add_argument(
        "--rows", type=int, default=rows, help="rows to take (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, help="counted rounds of a timing")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results", help="folder for the JSON file"
    )
    parser.add_argument(
        "--cache", type=Path, default=HERE / "cache", help="folder for built indexes"
    )
    return parser


def with_interval(samples: Samples, unit: str = "", digits: int = 2) -> str:
    """`median [low, high] unit`."""
    low, high = samples.interval
    return f"{samples.median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}] {unit}".rstrip()
