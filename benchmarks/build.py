"""Time to build a searchable graph, against hnswlib building one of the same recall, in turns.

srvdb's time runs from an empty directory to every row durable, linked and closed (`add_batch`,
`optimize`, `close`); hnswlib's from an empty index to the last `add_items`. Recall@10 is taken at
one effort for both. hnswlib may be built with several `--hnswlib-ef-construction`; its time at
srvdb's recall is then interpolated, otherwise a srvdb graph of lower recall counts as a miss.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmarks import datasets, recall
from benchmarks.datasets import VectorSet
from benchmarks.frontier import interpolate
from benchmarks.peers import srvdb_store
from benchmarks.peers.graph import GraphIndex, Shape, row_numbers
from benchmarks.peers.hnswlib_graph import Hnswlib
from benchmarks.peers.registry import from_spec
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.timing import Samples, interleave, pinned

# Recalls this close are the same; far below what a different effort changes.
SAME_RECALL = 0.001
MUST_SET = "sift-photos-957k"
MUST_RATIO = 3.0


def recall_of(index: GraphIndex, data: VectorSet, path: Path, k: int, effort: int) -> float:
    index.names = srvdb_store.row_ids(len(data.base))
    index.open(Shape.of(data), path)
    search = index.searcher(k, effort)
    answers = [row_numbers(search(query)) for query in data.queries]
    index.close()
    return recall.recall_at(data, recall.row_matrix(answers, k), k)


def measure_set(data: VectorSet, options: argparse.Namespace, report: Report) -> None:
    subjects: dict[str, GraphIndex] = {"srvdb": from_spec(options.srvdb)}
    for effort in options.hnswlib_ef_construction:
        subjects[f"hnswlib, ef_construction {effort}"] = Hnswlib(ef_construction=effort)
    got: dict[str, float] = {}
    folder = options.cache / "build"

    def run(name: str, index: GraphIndex) -> float:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        taken = index.build(data, folder / "index", options.threads)
        if name not in got:
            got[name] = recall_of(index, data, folder / "index", options.k, options.ef)
        shutil.rmtree(folder)
        print(f"    {name}: {taken:.1f} s, recall {got[name]:.4f}", flush=True)
        return taken

    with pinned(options.threads):
        taken = interleave(
            {
                name: lambda name=name, index=index: run(name, index)
                for name, index in subjects.items()
            },
            options.rounds,
            warm_up=False,
        )
    judge(data, got, taken, options, report)


def judge(
    data: VectorSet,
    got: dict[str, float],
    taken: dict[str, Samples],
    options: argparse.Namespace,
    report: Report,
) -> None:
    peers = [name for name in taken if name != "srvdb"]
    target = min(got["srvdb"], max(got[name] for name in peers))
    rounds = len(taken["srvdb"].values)
    theirs = []
    for number in range(rounds):
        # As rates, so that one interpolation serves: builds an hour at the recall they give.
        points = [(got[name], 3600 / taken[name].values[number]) for name in peers]
        rate = interpolate(points, target)
        assert rate is not None, "the target is at most the best recall"
        theirs.append(3600 / rate)
    ratio = Samples(tuple(theirs)).over(taken["srvdb"])
    enough = got["srvdb"] >= min(got[name] for name in peers) - SAME_RECALL
    recalls = " / ".join(f"{got[name]:.4f}" for name in ("srvdb", *peers))
    text = (
        f"{with_interval(ratio)} × as fast ({taken['srvdb'].median:.0f} s against "
        f"{Samples(tuple(theirs)).median:.0f} s; recall at ef {options.ef}: {recalls})"
    )
    title = f"build, {options.threads} threads, {data.name}"
    detail = {name: {"seconds": taken[name].values, "recall": got[name]} for name in taken}
    reached = ratio.median >= MUST_RATIO and enough if data.name == MUST_SET else None
    must = "" if reached is None else f"≥ {MUST_RATIO:g} × hnswlib's speed at its recall"
    report.add(Measure(title, must, text, ratio.median, ratio.interval, reached, detail))


def main() -> Path:
    parser = arguments(__doc__, sets=["sift-957k"])
    parser.set_defaults(rounds=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000, help="queries to take the recall with")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--ef", type=int, default=100, help="effort of the searches that take it")
    parser.add_argument("--srvdb", default="srvdb", help="build parameters: srvdb:m=24")
    parser.add_argument("--hnswlib-ef-construction", type=int, nargs="+", default=[200])
    options = parser.parse_args()
    report = Report("build", options.out)
    for data in datasets.load_present(options.sets):
        try:
            measure_set(data.head(options.rows, options.queries), options, report)
        except ImportError as error:
            report.skip(str(error))
    return report.finish()


if __name__ == "__main__":
    main()
