"""What is measured of a library, each in a process of its own: build, open, sweep, duel.

`python -m benchmarks.peers.worker JOB FILE` takes a job as JSON and writes its result into the
file; what the libraries print does not matter. A crash costs one job. `jobs.py` starts them.

- build: the index, unless it is kept already; seconds, peak memory, bytes on disk.
- open: from files in the page cache to the first answer; memory after some searches.
- sweep: recall on the tuning and on the reported half of the queries, and the rate by the process's
  own time, which bears a busy machine; effort by effort, until the highest target is passed on both
  or recall has levelled off.
- duel: two libraries in turns at given efforts, one by one and in batches; every round's rate.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import datasets, recall
from benchmarks.datasets import VectorSet
from benchmarks.memory import resident
from benchmarks.peers import srvdb_store
from benchmarks.peers.graph import GraphIndex, Queries, Shape, row_numbers
from benchmarks.peers.registry import build_if_missing, from_spec, open_built
from benchmarks.timing import interleave, pinned, seconds

Job = dict[str, Any]
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
MODES = {"one": 1, "batch1": 1, "batch2": 2}  # and their threads
LEVEL = 0.0005
MEMORY_SEARCHES = 500
MEMORY_EFFORT = 100


def half(data: VectorSet, start: int, count: int) -> VectorSet:
    """Every other query from `start` on: 0 for the half that tunes, 1 for the reported one."""
    chosen = slice(start, 2 * count, 2)
    truth = None if data.truth is None else data.truth[chosen]
    return VectorSet(data.name, data.metric, data.base, data.queries[chosen].copy(), truth)


def load(job: Job) -> VectorSet:
    return datasets.load(job["set"]).head(job["rows"])


def opened(spec: str, data: VectorSet, job: Job) -> GraphIndex:
    index = from_spec(spec)
    open_built(index, data, Path(job["cache"]))
    return index


def build(job: Job) -> dict[str, Any]:
    index, data = from_spec(job["spec"]), load(job)
    importlib.import_module(index.module)
    return build_if_missing(index, data, Path(job["cache"]), job["threads"], job["rebuild"])


def open_and_ask(job: Job) -> dict[str, Any]:
    index, queries = from_spec(job["spec"]), np.load(job["queries"])
    shape = Shape(*job["shape"])
    importlib.import_module(index.module)
    index.names = srvdb_store.row_ids(shape.rows)
    before, faults = resident(), resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    index.open(shape, Path(job["path"]))
    opened_at = time.perf_counter()
    prepared = index.prepare(queries)
    asked_at = time.perf_counter()
    index.searcher(job["k"], job["k"])(prepared[0])
    done = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF)
    search = index.searcher(job["k"], MEMORY_EFFORT)
    for query in prepared[:MEMORY_SEARCHES]:
        search(query)
    grown = resident()
    index.close()
    return {
        "open_ms": (opened_at - start) * 1e3,
        "answer_ms": (opened_at - start + done - asked_at) * 1e3,
        "minor_faults": after.ru_minflt - faults.ru_minflt,
        "major_faults": after.ru_majflt - faults.ru_majflt,
        "anonymous_bytes": grown.anonymous - before.anonymous,
        "file_bytes": grown.file - before.file,
    }


def timed_answers(search: Callable[[Any], list[str]], queries: Queries) -> tuple[Any, float]:
    """Rows of all answers, and how many queries were asked in a second of processor time."""
    answers: list[list[str]] = []

    def loop() -> None:
        answers.extend(search(query) for query in queries)

    taken = seconds(loop, time.process_time)
    return [row_numbers(answer) for answer in answers], len(queries) / taken


def levelled_off(points: list[dict[str, float]]) -> bool:
    """Whether doubling the effort gained next to nothing: what is missing will not be found."""
    if len(points) < 3:
        return False
    return all(points[-1][half] - points[-3][half] < LEVEL for half in ("tuning", "recall"))


def sweep(job: Job) -> dict[str, Any]:
    data, k = load(job), job["k"]
    halves = [half(data, start, job["queries"]) for start in (0, 1)]
    truths = [recall.truth_of(part, k) for part in halves]
    index = opened(job["spec"], data, job)
    prepared = [index.prepare(part.queries) for part in halves]
    points = []
    gc.disable()
    with pinned(1):
        for effort in index.efforts:
            search = index.searcher(k, effort)
            got, rates = [], []
            for part, queries, truth in zip(halves, prepared, truths, strict=True):
                answers, rate = timed_answers(search, queries)
                found = recall.row_matrix(answers, k)
                got.append(recall.recall_at(part, found, k, truth))
                rates.append(rate)
            points.append(
                {
                    "effort": effort,
                    "tuning": got[0],
                    "recall": got[1],
                    "tuning_qps": rates[0],
                    "qps": rates[1],
                }
            )
            if min(got) >= job["until"] or levelled_off(points):
                break
    index.close()
    return {"points": points, "load": os.getloadavg()[0]}


def subject(
    index: GraphIndex, queries: Queries, mode: str, effort: int, job: Job
) -> Callable[[], float]:
    """One timed pass over the queries, as a rate."""
    k, clock = job["k"], CLOCKS[job["clock"]]

    def run() -> float:
        if mode == "one":
            search = index.searcher(k, effort)

            def loop() -> None:
                for query in queries:
                    search(query)

        else:
            search_all = index.batch_searcher(k, effort, MODES[mode])

            def loop() -> None:
                search_all(queries)

        taken = seconds(loop, clock)
        index.rest()
        return len(queries) / taken

    return run


def duel(job: Job) -> dict[str, Any]:
    data = load(job)
    reported = half(data, 1, job["queries"])
    sides = {side: opened(job[side]["spec"], data, job) for side in ("ours", "theirs")}
    prepared = {side: index.prepare(reported.queries) for side, index in sides.items()}
    rates: dict[str, Any] = {}
    gc.disable()
    for mode in job["modes"]:
        subjects = {
            f"{side} {effort}": subject(index, prepared[side], mode, effort, job)
            for side, index in sides.items()
            for effort in job[side]["efforts"]
        }
        with pinned(MODES[mode]):
            taken = interleave(subjects, job["rounds"])
        rates[mode] = {name: samples.values for name, samples in taken.items()}
    for index in sides.values():
        index.close()
    return {"rates": rates, "load": os.getloadavg()[0]}


KINDS = {"build": build, "open": open_and_ask, "sweep": sweep, "duel": duel}


def main() -> None:
    job = json.loads(sys.argv[1])
    result = KINDS[job["kind"]](job)
    Path(sys.argv[2]).write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # some libraries do not survive their own end


if __name__ == "__main__":
    main()
