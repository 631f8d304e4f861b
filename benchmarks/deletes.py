"""Searches among soft-deleted rows, and after every row was replaced: recall and speed.

The same queries go to a database without deletions and to one with, in turns. Rows are
soft-deleted anywhere, around a query (its nearest ones), or away from one (all but its nearest).
Then every row is replaced, a batch at a time, and recall is compared with that of a graph built
from nothing, before and after `compact()`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets, recall
from benchmarks.datasets import Rows, VectorSet
from benchmarks.peers import srvdb_store
from benchmarks.peers.registry import build_or_reuse
from benchmarks.peers.srvdb_graph import Srvdb
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.timing import interleave, pinned, seconds

SHARES = (0.001, 0.07, 0.1, 0.5, 0.9, 0.99)
HALF_A_POINT = 0.005
BATCH = 1000


def choices(data: VectorSet, share: float) -> Iterator[tuple[str, Rows]]:
    """Which rows to delete: three ways to take that share of them."""
    n = len(data.base)
    count = round(share * n)
    yield "anywhere", np.random.default_rng(1).permutation(n)[:count]
    some = data.queries[:1]
    order = recall.brute_force(data.base, some, data.metric, n)[0]
    yield "around a query", order[:count]
    yield "away from a query", order[n - count :]


def answers(db: Any, data: VectorSet, k: int, ef: int) -> Rows:
    found = [[int(hit[0]) for hit in db.search(query, k, ef=ef)] for query in data.queries]
    return recall.row_matrix(found, k)


def recall_among(data: VectorSet, found: Rows, live: Rows, k: int) -> float:
    """Recall against the exact answer over the rows that are left."""
    left = VectorSet(data.name, data.metric, data.base[live], data.queries, None)
    where = np.full(len(data.base) + 1, -1, dtype=np.int64)
    where[live] = np.arange(len(live))
    return recall.recall_at(left, where[found], min(k, len(live)))


def copy_of(index: Path, name: str) -> Path:
    to = index.parent / name
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(index, to)
    return to


def hidden(report: Report, data: VectorSet, index: Path, options: Any) -> None:
    """Measure searches at every share, against the same database without deletions."""
    k, ef = options.k, options.ef
    changed = copy_of(index, "changed")
    whole = srvdb_store.open_linked(index)
    db = srvdb_store.open_linked(changed)
    before = recall.recall_at(data, answers(whole, data, k, ef), k)
    for share in options.shares:
        for name, rows in choices(data, share):
            ids = [str(row) for row in rows]
            db.soft_delete(ids)
            live = np.setdiff1d(np.arange(len(data.base)), rows)
            found = answers(db, data, k, ef)
            got = recall_among(data, found, live, k)
            short = int(((found >= 0).sum(axis=1) < min(k, len(live))).sum())
            with pinned():
                subjects = {
                    "all": lambda: seconds(lambda: answers(whole, data, k, ef)),
                    "left": lambda: seconds(lambda: answers(db, data, k, ef)),
                }
                taken = interleave(subjects, options.rounds)
            slower = taken["left"].over(taken["all"])
            db.restore(ids)
            report.add(
                Measure(
                    f"recall@{k}, ef={ef}, {data.name}, {100 * share:g} % soft-deleted {name}",
                    f"≥ {before - HALF_A_POINT:.4f}, full answers",
                    f"{got:.4f}, {short} short; a query takes {with_interval(slower)} ×",
                    got,
                    reached=got >= before - HALF_A_POINT and short == 0,
                    detail={"times_slower": slower.values, "short": short, "undeleted": before},
                )
            )
    whole.close()
    db.close()
    shutil.rmtree(changed)


def replaced(report: Report, data: VectorSet, index: Path, built: Any, options: Any) -> None:
    """Replace every row, each by another of the same collection; then compact."""
    k, ef, n = options.k, options.ef, len(data.base)
    with srvdb_store.open_linked(index) as db:
        before = recall.recall_at(data, answers(db, data, k, ef), k)
    changed = copy_of(index, "replaced")
    now = np.random.default_rng(2).permutation(n)  # row i becomes what row now[i] was
    number = np.append(now, -1)
    with srvdb_store.open_linked(changed, auto_compact=False) as db:
        for first in range(0, n, BATCH):
            last = min(n, first + BATCH)
            ids = [str(row) for row in range(first, last)]
            db.upsert(ids, data.base[now[first:last]])
        db.optimize()
        for when in ("replacing every row", "compacting after that"):
            detail: dict[str, Any] = {"build_s": built.get("build_s")}
            if when.startswith("compacting"):
                start = time.perf_counter()
                detail["bytes"] = db.compact()
                detail["compact_s"] = time.perf_counter() - start
            got = recall.recall_at(data, number[answers(db, data, k, ef)], k)
            report.add(
                Measure(
                    f"recall@{k}, ef={ef}, {data.name}, after {when}",
                    f"≥ {before - HALF_A_POINT:.4f}",
                    f"{got:.4f} (built from nothing: {before:.4f})"
                    + (f"; {detail['compact_s']:.1f} s" if "compact_s" in detail else ""),
                    got,
                    reached=got >= before - HALF_A_POINT,
                    detail=detail,
                )
            )
    shutil.rmtree(changed)


def main() -> Path:
    parser = arguments(__doc__, sets=["mnist", "sift-80k", "words"])
    parser.add_argument("--queries", type=int, default=500, help="queries to ask")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=int, default=100)
    parser.add_argument("--shares", type=float, nargs="*", default=list(SHARES))
    options = parser.parse_args()
    report = Report("deletes", options.out)
    for given in datasets.load_present(options.sets):
        data = given.head(options.rows, options.queries)
        index = Srvdb()
        built = build_or_reuse(index, data, options.cache)
        path = index.path
        index.close()
        hidden(report, data, path, options)
        replaced(report, data, path, built, options)
    return report.finish()


if __name__ == "__main__":
    main()
