"""Speed of exact search, one thread: one query against the memory's rate, a batch against faiss.

One query: float32 bytes of all rows divided by the query's time, as a share of the fastest plain
read of the same number of bytes by one thread, in turns. A scan that reads fewer bytes than the
rows have may pass 1. Batch: 1,000 queries at a time against `faiss.IndexFlat` over the same
float32 rows, in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets, recall
from benchmarks.datasets import VectorSet
from benchmarks.memory import warm_files
from benchmarks.peers import srvdb_store
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.streaming import Streamer
from benchmarks.timing import Samples, interleave, pinned, seconds

SINGLE_QUERIES = 5  # answered in a round; a round is one number
MUST_SHARE = 0.8
MUST_SET = "sift-photos-957k"


def database(data: VectorSet, cache: Path) -> Any:
    """A flat database over the set, opened from disk with its files in the page cache."""
    path = cache / "exact-speed"
    with srvdb_store.create(path, data.metric, mode="flat") as db:
        db.add_batch(srvdb_store.row_ids(len(data.base)), data.base)
        db.optimize()
    warm_files(path)
    return srvdb_store.open_linked(path)


def one_query(data: VectorSet, db: Any, options: argparse.Namespace, report: Report) -> None:
    streamer = Streamer(options.cache)
    queries = iter(np.resize(data.queries, (SINGLE_QUERIES * (options.rounds + 2), data.dim)))
    gigabytes = data.base.nbytes / 1e9

    def scan() -> float:
        asked = [next(queries) for _ in range(SINGLE_QUERIES)]
        taken = seconds(lambda: [db.search(query, options.k, exact=True) for query in asked])
        return gigabytes * SINGLE_QUERIES / taken

    def stream(loop: int) -> float:
        return (
            streamer.read(data.base, loop) / 1e9 / seconds(lambda: streamer.read(data.base, loop))
        )

    subjects: dict[str, Callable[[], float]] = {"srvdb": scan}
    for loop in range(streamer.loops()):
        subjects[f"stream {loop}"] = lambda loop=loop: stream(loop)
    with pinned(1):
        rates = interleave(subjects, options.rounds)
    streams = [samples for name, samples in rates.items() if name != "srvdb"]
    fastest = Samples(
        tuple(max(values) for values in zip(*(s.values for s in streams), strict=True))
    )
    ratio = rates["srvdb"].over(fastest)
    milliseconds = 1000 * gigabytes / rates["srvdb"].median
    text = (
        f"{with_interval(ratio)} × the streaming rate ({rates['srvdb'].median:.1f} / "
        f"{fastest.median:.1f} GB/s, {milliseconds:.2f} ms a query)"
    )
    detail: dict[str, Any] = {name: {"gb_per_s": s.values} for name, s in rates.items()}
    detail["coded_rows"] = srvdb_store.stat(db, "coded_rows")
    reached = ratio.median >= MUST_SHARE if data.name == MUST_SET else None
    title = f"exact, one query, {data.name}"
    must = "" if reached is None else f"≥ {MUST_SHARE} × the streaming rate"
    report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def faiss_flat(data: VectorSet) -> Callable[[datasets.Floats, int], Any]:
    """faiss's exact index, one thread; cosine as inner product of normalised rows."""
    import faiss

    faiss.omp_set_num_threads(1)
    metric = faiss.METRIC_L2 if data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexFlat(data.dim, metric)
    rows = data.base.copy()
    if data.metric == "cosine":
        faiss.normalize_L2(rows)
    index.add(rows)
    return lambda queries, k: index.search(queries, k)


def batch(data: VectorSet, db: Any, options: argparse.Namespace, report: Report) -> None:
    queries = np.resize(data.queries, (options.batch, data.dim))
    theirs = faiss_flat(data)

    def ours(asked: datasets.Floats, k: int) -> Any:
        return db.search_batch(asked, k, exact=True, threads=1)

    with pinned(1):
        rates = interleave(
            {
                "srvdb": lambda: len(queries) / seconds(lambda: ours(queries, options.k)),
                "faiss": lambda: len(queries) / seconds(lambda: theirs(queries, options.k)),
            },
            options.rounds,
        )
    few = VectorSet(data.name, data.metric, data.base, queries[:100], None)
    answers = [[int(hit[0]) for hit in hits] for hits in ours(few.queries, options.k)]
    got = recall.recall_at(few, recall.row_matrix(answers, options.k), options.k)
    ratio = rates["srvdb"].over(rates["faiss"])
    text = (
        f"{with_interval(ratio)} × faiss ({rates['srvdb'].median:,.0f} / "
        f"{rates['faiss'].median:,.0f} queries/s; recall {got:.4f})"
    )
    title = f"exact, batch of {len(queries)}, {data.name}"
    detail = {name: {"queries_per_s": samples.values} for name, samples in rates.items()}
    reached = ratio.median >= 1 and got == 1.0 if data.name == MUST_SET else None
    must = "" if reached is None else "≥ 1 × faiss IndexFlat"
    report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def main() -> Path:
    parser = arguments(__doc__, sets=["sift-957k"])
    parser.add_argument("--batch", type=int, default=1000, help="queries in a batch")
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    report = Report("exact_speed", options.out)
    for whole in datasets.load_present(options.sets):
        data = whole.head(options.rows)
        with database(data, options.cache) as db:
            for measure in (one_query, batch):
                try:
                    measure(data, db, options, report)
                except (ImportError, FileNotFoundError) as error:
                    report.skip(f"{measure.__name__}: {error}")
    return report.finish()


if __name__ == "__main__":
    main()
