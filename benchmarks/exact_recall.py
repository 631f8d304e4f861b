"""Recall of exact search: every set, metric and instruction set. Must be 1.0, ties counted.

Each set is stored once a metric; then one fresh process for each instruction set (SRVDB_SIMD)
opens it and answers with exact=True, some queries one by one and all of them as a batch. The
set's own metric is judged by its ground truth, the others by float64 brute force over a sample of
the queries. Answers, ids and scores, must also be the same bits on every instruction set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import datasets, recall
from benchmarks.datasets import VectorSet
from benchmarks.peers import srvdb_store
from benchmarks.report import HERE, Measure, Report, arguments

METRICS = ["cosine", "ip", "l2"]
LEVELS = ["baseline", "avx2", "avx512", "avx512vnni", "amxint8", "neon"]
ONE_BY_ONE = 50


def answer(path: Path, queries_path: Path, out: Path, k: int) -> None:
    """What the child does: search with the instruction set that the environment names."""
    queries = np.load(queries_path)
    with srvdb_store.open_linked(path) as db:
        batch = db.search_batch(queries, k, exact=True)
        single = [db.search(query, k, exact=True) for query in queries[:ONE_BY_ONE]]
        simd = srvdb_store.stat(db, "simd")
    ids = recall.row_matrix([[int(hit[0]) for hit in hits] for hits in batch], k)
    scores = [[float(hit[1]) for hit in hits] for hits in batch]
    same = all(list(one) == list(many) for one, many in zip(single, batch, strict=False))
    np.savez(out, ids=ids, scores=np.array(json.dumps(scores)), same=same, simd=np.array(simd))


def lacks(level: str, stderr: str) -> bool:
    """Whether a child ended because this processor lacks the instruction set, and only so."""
    last = (stderr.strip().splitlines() or [""])[-1]
    told = "InvalidInputError: SRVDB_SIMD: expected one of "
    return level in LEVELS and told in last and last.endswith(f'got "{level}"')


def run_level(level: str, path: Path, queries: Path, out: Path, k: int) -> bool:
    """Run the child; False when this processor lacks the instruction set.

    Raises
    ------
    RuntimeError
        When the child failed for any other reason; the message is what it left on stderr.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.exact_recall",
        "--answer",
        str(path),
        str(queries),
        str(out),
    ]
    done = subprocess.run(
        [*command, "--k", str(k)],
        env={**os.environ, "SRVDB_SIMD": level},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    if done.returncode and lacks(level, done.stderr):
        return False
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    return True


def measure_set(data: VectorSet, metric: str, options: argparse.Namespace, report: Report) -> None:
    own = metric == data.metric and data.truth is not None
    count = options.queries if own else options.sample
    truth = data.truth if own else None
    part = VectorSet(data.name, metric, data.base, data.queries, truth).head(queries=count)
    folder = options.cache / "exact"
    folder.mkdir(parents=True, exist_ok=True)
    path, queries = folder / "database", folder / "queries.npy"
    np.save(queries, part.queries)
    with srvdb_store.create(path, metric, mode="flat") as db:
        db.add_batch(srvdb_store.row_ids(len(part.base)), part.base)
    exact = recall.truth_of(part, options.k)
    first: bytes | None = None
    for level in options.levels:
        out = folder / f"{level}.npz"
        title = f"exact recall@{options.k}, {data.name}, {metric}, {level}"
        try:
            if not run_level(level, path, queries, out, options.k):
                if level != "neon":
                    print(f"  skipped: this processor has no {level}", flush=True)
                continue
        except RuntimeError as error:
            text = f"failed: {str(error).splitlines()[-1]}"
            report.add(Measure(title, "1.0", text, reached=False, detail={"error": str(error)}))
            continue
        with np.load(out) as found:
            got = recall.recall_at(part, found["ids"], options.k, exact)
            bits = found["ids"].tobytes() + str(found["scores"]).encode()
            alike = bool(found["same"]) and (first is None or bits == first)
        first = first or bits
        text = f"{got:.6f}" + ("" if alike else ", but answers differ between ways or sets")
        report.add(Measure(title, "1.0", text, got, reached=got == 1.0 and alike))


def main() -> Path | None:
    parser = arguments(__doc__, sets=[])
    parser.add_argument("--metrics", nargs="+", default=METRICS, choices=METRICS)
    parser.add_argument("--levels", nargs="+", default=LEVELS)
    parser.add_argument(
        "--queries", type=int, default=1000, help="queries with the set's own metric"
    )
    parser.add_argument("--sample", type=int, default=100, help="queries with the other metrics")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--answer", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        path, queries, out = options.answer
        answer(path, queries, out, options.k)
        return None
    report = Report("exact_recall", options.out)
    for name in options.sets or datasets.all_sets():
        for data in datasets.load_present([name]):
            variant = ":" in name
            for metric in [data.metric] if variant else options.metrics:
                measure_set(data.head(options.rows), metric, options, report)
    return report.finish()


if __name__ == "__main__":
    main()
