"""Speed of exact search, one thread, in turns with `faiss.IndexFlat` over the same float32 rows.

One query: also the float32 bytes of all rows divided by the query's time, as a share of the fastest
plain read of the same number of bytes by one thread. A scan that reads fewer bytes than the rows
have may pass 1. Batch: 1,000 queries at a time. Times are the processor's, spent by this process.
"""

from __future__ import annotations

import argparse
import time
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
MUST_ONE = 2.5  # times faiss
MUST_BATCH = 1.5
MUST_ROWS = 10_000  # below, a call costs more than its search


def database(data: VectorSet, cache: Path) -> Any:
    """A flat database over the set, opened from disk with its files in the page cache."""
    path = cache / "exact-speed"
    with srvdb_store.create(path, data.metric, mode="flat") as db:
        db.add_batch(srvdb_store.row_ids(len(data.base)), data.base)
        db.optimize()
    warm_files(path)
    return srvdb_store.open_linked(path)


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


def taken(action: Callable[[], object]) -> float:
    """Seconds of the processor that one call took."""
    return seconds(action, time.process_time)


def one_query(data: VectorSet, db: Any, options: argparse.Namespace, report: Report) -> None:
    streamer = Streamer(options.cache)
    theirs = faiss_flat(data)
    count = SINGLE_QUERIES * (options.rounds + 2)
    ours_asked = iter(np.resize(data.queries, (count, data.dim)))
    theirs_asked = iter(np.resize(data.queries, (count, 1, data.dim)))

    def scan() -> float:
        asked = [next(ours_asked) for _ in range(SINGLE_QUERIES)]
        return SINGLE_QUERIES / taken(
            lambda: [db.search(query, options.k, exact=True) for query in asked]
        )

    def faiss_scan() -> float:
        asked = [next(theirs_asked) for _ in range(SINGLE_QUERIES)]
        return SINGLE_QUERIES / taken(lambda: [theirs(query, options.k) for query in asked])

    def stream(loop: int) -> float:
        return 1 / taken(lambda: streamer.read(data.base, loop))

    subjects: dict[str, Callable[[], float]] = {"srvdb": scan, "faiss": faiss_scan}
    for loop in range(streamer.loops()):
        subjects[f"stream {loop}"] = lambda loop=loop: stream(loop)
    with pinned(1):
        rates = interleave(subjects, options.rounds)
    streams = [samples for name, samples in rates.items() if name.startswith("stream")]
    fastest = Samples(
        tuple(max(values) for values in zip(*(s.values for s in streams), strict=True))
    )
    ratio = rates["srvdb"].over(rates["faiss"])
    share = rates["srvdb"].over(fastest)
    text = (
        f"{with_interval(ratio)} × faiss ({1000 / rates['srvdb'].median:.3f} / "
        f"{1000 / rates['faiss'].median:.3f} ms); {with_interval(share)} × the streaming rate "
        f"({fastest.median * data.base.nbytes / 1e9:.1f} GB/s)"
    )
    detail: dict[str, Any] = {name: {"per_s": s.values} for name, s in rates.items()}
    detail["coded_rows"] = srvdb_store.stat(db, "coded_rows")
    report.add(
        Measure(
            f"exact, one query, {data.name}",
            f"≥ {MUST_ONE} × faiss IndexFlat",
            text,
            ratio.median,
            ratio.interval,
            ratio.median >= MUST_ONE if len(data.base) >= MUST_ROWS else None,
            detail,
        )
    )


def batch(data: VectorSet, db: Any, options: argparse.Namespace, report: Report) -> None:
    queries = np.resize(data.queries, (options.batch, data.dim))
    theirs = faiss_flat(data)

    def ours(asked: datasets.Floats, k: int) -> Any:
        return db.search_batch(asked, k, exact=True, threads=1)

    with pinned(1):
        rates = interleave(
            {
                "srvdb": lambda: len(queries) / taken(lambda: ours(queries, options.k)),
                "faiss": lambda: len(queries) / taken(lambda: theirs(queries, options.k)),
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
    judged = len(data.base) >= MUST_ROWS
    reached = ratio.median >= MUST_BATCH and got == 1.0 if judged else None
    must = f"≥ {MUST_BATCH} × faiss IndexFlat"
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
