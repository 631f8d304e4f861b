"""Recall of the graph at a fixed effort (ef=100), every row linked, default build parameters."""

from __future__ import annotations

from pathlib import Path

from benchmarks import datasets, recall
from benchmarks.peers.graph import row_numbers
from benchmarks.peers.registry import build_or_reuse, from_spec
from benchmarks.report import Measure, Report, arguments

FLOORS = {
    "mnist-784-euclidean-2k": 0.98,
    "sift-photos-80k": 0.97,
    "words-25k-100-angular": 0.95,
}


def main() -> Path:
    parser = arguments(__doc__, sets=["mnist", "sift-80k", "words"])
    parser.add_argument("--queries", type=int, help="queries to ask (default: all)")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=int, default=100)
    parser.add_argument("--srvdb", default="srvdb", help="build parameters: srvdb:m=24")
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    options = parser.parse_args()
    report = Report("hnsw_recall", options.out)
    for whole in datasets.load_present(options.sets):
        data = whole.head(options.rows, options.queries)
        index = from_spec(options.srvdb)
        built = build_or_reuse(index, data, options.cache, rebuild=options.rebuild)
        search = index.searcher(options.k, options.ef)
        answers = [row_numbers(search(query)) for query in data.queries]
        index.close()
        got = recall.recall_at(data, recall.row_matrix(answers, options.k), options.k)
        floor = FLOORS.get(data.name) if (options.k, options.ef) == (10, 100) else None
        title = f"recall@{options.k}, HNSW, ef={options.ef}, {data.name}"
        must = "" if floor is None else f"≥ {floor}"
        reached = None if floor is None else got >= floor
        report.add(Measure(title, must, f"{got:.4f}", got, reached=reached, detail=built))
    return report.finish()


if __name__ == "__main__":
    main()
