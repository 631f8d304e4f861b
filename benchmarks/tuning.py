"""Whether recall= keeps its promise on queries that the database has not seen.

Each set is asked with half of its queries and reported on the other half: once measured by rows
alone (before anything was asked), once after the first half was asked. A promise is kept when the
mean lies no further below it than the sample explains (1.645 standard errors). Foreign queries are
promised nothing before some of them were asked, so that line is only told.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import srvdb
from benchmarks import datasets
from benchmarks.datasets import Floats, VectorSet
from benchmarks.peers import srvdb_store
from benchmarks.report import Measure, Report, arguments


def recalls(db: srvdb.Database, queries: Floats, k: int, target: float) -> np.ndarray:
    """Recall of each query against an exact search, ties counted."""
    found = db.search_batch(queries, k, recall=target)
    best = db.search_batch(queries, k, exact=True)
    return np.array(
        [
            sum(score >= true[-1].score for _, score in hits) / len(true)
            for hits, true in zip(found, best, strict=True)
        ]
    )


def filled(data: VectorSet, cache: Path, rebuild: bool) -> Path:
    """A linked database of the set that has been asked nothing."""
    path = cache / f"tuning-{data.name}-{data.fingerprint()}-{srvdb_store.build_id()}".replace(
        ":", "-"
    )
    if rebuild or not (path / "done").exists():
        with srvdb_store.create(path / "db", data.metric, mode="hnsw") as db:
            db.add_batch(srvdb_store.row_ids(len(data.base)), data.base)
            db.optimize()
        (path / "done").touch()
    return path / "db"


def measure(report: Report, data: VectorSet, path: Path, k: int) -> None:
    first, second = data.queries[0::2], data.queries[1::2]
    for asked in (False, True):
        copy = path.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        with srvdb.open(copy, background=False) as db:
            if asked:
                db.search_batch(first, k)
            db.optimize()
            for target in (0.9, 0.95, 0.99):
                got = recalls(db, second, k, target)
                error = 1.645 * float(got.std()) / len(got) ** 0.5
                mean = float(got.mean())
                how = "after other queries of the set" if asked else "by rows alone"
                required = asked or not data.name.endswith(":ood")
                report.add(
                    Measure(
                        f"recall={target:g}, k={k}, {data.name}, {how}",
                        f"≥ {target:g}" if required else "",
                        f"{mean:.4f} ± {error:.4f}",
                        mean,
                        (mean - error, mean + error),
                        mean + error >= target if required else None,
                        {"calibration": db.stats()["calibration"]},
                    )
                )
        shutil.rmtree(copy)


def main() -> Path:
    parser = arguments(__doc__, sets=["sift-80k", "words", "words:ip", "notes", "notes:ood"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    options = parser.parse_args()
    report = Report("tuning", options.out)
    for whole in datasets.load_present(options.sets):
        data = whole.head(options.rows)
        measure(report, data, filled(data, options.cache, options.rebuild), options.k)
    return report.finish()


if __name__ == "__main__":
    main()
