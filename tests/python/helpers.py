"""What several tests need: real vector sets, brute force in double precision, child processes."""

import functools
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

import srvdb

ROOT = Path(__file__).resolve().parents[2]
METRICS = ("cosine", "ip", "l2")
UTC = timezone.utc
START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)  # where the tests' clock begins


def data_folder() -> Path | None:
    """Where the shared vector sets are, if they are there."""
    for folder in (os.environ.get("SRVDB_TEST_DATA"), ROOT.parent / "shared" / "data"):
        if folder and Path(folder).is_dir():
            return Path(folder)
    return None


@functools.cache
def load_set(name: str) -> dict[str, np.ndarray]:
    """A vector set as arrays; skips the test when it is not there."""
    folder = data_folder()
    file = folder / name / "data.npz" if folder else None
    if file is None or not file.is_file():
        pytest.skip(f"no vector set {name}: set SRVDB_TEST_DATA to the folder that holds it")
    with np.load(file, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files if arrays[key].dtype.kind in "fiu"}


def rows_and_queries(name: str, rows: int | None = None, queries: int | None = None):
    arrays = load_set(name)
    return (
        np.ascontiguousarray(arrays["base"][:rows], dtype=np.float32),
        np.ascontiguousarray(arrays["queries"][:queries], dtype=np.float32),
    )


def true_scores(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """Scores of one query against all rows in double precision; higher is better."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return -((rows - query) ** 2).sum(axis=1)
    scores = rows @ query
    if metric == "cosine":
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
    return scores


def recall(rows: np.ndarray, queries: np.ndarray, answers, metric: str, k: int = 10) -> float:
    """Share of the k hits whose true score reaches the k-th best one, ties counted."""
    right = total = 0
    for query, hits in zip(queries, answers, strict=True):
        scores = true_scores(rows, query, metric)
        kth = np.partition(scores, -k)[-k]
        floor = kth - 1e-9 * max(1.0, abs(kth))
        right += sum(scores[int(id)] >= floor for id, _ in hits)
        total += k
    return right / total


def numbered(n: int, start: int = 0) -> list[str]:
    return [str(i) for i in range(start, start + n)]


def run_child(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own and wait."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def start_child(code: str, *arguments: str, **options) -> subprocess.Popen:
    """Start Python code in a process of its own; its output is a pipe of text."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def end_child(child: subprocess.Popen, text: str = "") -> tuple[str, str]:
    """What a child still writes to stdout and stderr until it ends; closes its pipes.

    Unlike communicate() this keeps what readline() has read ahead.
    """
    if child.stdin is not None:
        child.stdin.write(text)
        child.stdin.close()
    rest, errors = child.stdout.read(), child.stderr.read()
    child.stdout.close()
    child.stderr.close()
    child.wait(timeout=60)
    return rest, errors


def opened(kind: str, path: Path, **options):
    """One database, or a set of three shards."""
    if kind == "one":
        return srvdb.open(path, **options)
    return srvdb.ShardedDatabase(path, shards=3, **options)


def vectors(db, ids, **options) -> list[list[float] | None]:
    records = db.get_records(list(ids), include="embedding", **options)
    return [None if record is None else record.embedding.tolist() for record in records]


def operations(entries) -> list[str]:
    return [entry.operation for entry in entries]
