"""Searches among the rows that match a filter: recall, completeness and speed at every selectivity.

Every set with a `filters.json` (exact answers of filters on real attributes). srvdb is opened from
disk, its fields indexed as they appeared, and asked one query at a time from Python, with the
filter as a dictionary. It keeps the answers of filters that are asked again, as all of these are;
with SVDB_FILTER_CACHE=0 in the environment each search works out anew which rows match. Recall is
that of the width of search at which the unfiltered search reaches 0.95. For the times, each filter,
and each library, takes the least width of a sweep that reaches 0.95 for it; filtered and unfiltered
searches, and srvdb and the peer, take turns, and times are the processor's, spent by this process
on one processor. A slow peer is asked fewer queries.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import datasets, filter_sets, recall
from benchmarks.datasets import Rows, VectorSet
from benchmarks.filter_sets import Filter, FilteredSet
from benchmarks.peers.filtered import STORES, FilteredStore, Search
from benchmarks.report import Measure, Report, arguments, with_interval
from benchmarks.timing import interleave, pinned, seconds

TARGET = 0.95
MUST_SLOWEST = 3.0  # times the unfiltered search
MUST_BEST = 3.0  # times the best of `OTHERS`
MUST_ZVEC = 1.0
OTHERS = ("lancedb", "chroma", "qdrant")
PATIENCE = 3.0  # seconds that a search's recall may take to measure
PASS = 0.15  # and a pass of a timing, about
FEWEST = 10  # queries


@dataclass
class Asked:
    """A search with the queries it has time for, and what it answers."""

    search: Search
    effort: int
    queries: datasets.Floats
    recall: float
    short: int

    def taken(self) -> float:
        """Processor seconds a query."""

        def ask() -> None:
            for query in self.queries:
                self.search(query)

        return seconds(ask, time.process_time) / len(self.queries)


def ask(given: FilteredSet, search: Search, effort: int, among: Filter | None, k: int) -> Asked:
    """Answer queries, all of them where that does not take too long."""
    data = given.data
    search(data.queries[0])
    found: list[list[int]] = []
    start = time.perf_counter()
    for query in data.queries:
        found.append([int(number) for number in search(query)])
        taken = time.perf_counter() - start
        if taken > PATIENCE and len(found) >= FEWEST:
            break
    n = len(found)
    truth, matching = truth_of(given, among, k)
    part = VectorSet(data.name, data.metric, data.base, data.queries[:n], None)
    got = recall.recall_at(part, recall.row_matrix(found, k), k, truth[:n])
    short = sum(len(answer) < min(k, matching) for answer in found)
    wanted = min(n, max(FEWEST, round(PASS * n / taken)))
    return Asked(search, effort, data.queries[:wanted], got, short)


def truth_of(given: FilteredSet, among: Filter | None, k: int) -> tuple[Rows, int]:
    """The exact answers, as many as there are."""
    data = given.data
    if among is not None:
        return among.truth[:, : min(k, among.matching)], among.matching
    return recall.truth_of(data, k), len(data.base)


def least(
    given: FilteredSet, store: FilteredStore, among: Filter | None, k: int
) -> tuple[Asked | None, float]:
    """The search of least effort that reaches the target, and the best recall met."""
    best = 0.0
    for effort in store.efforts:
        asked = ask(given, store.searcher(k, effort, among), effort, among, k)
        best = max(best, asked.recall)
        if asked.recall >= TARGET:
            return asked, best
    return None, best


def label(among: Filter) -> str:
    return f"{among.name} ({among.share:.2%})"


def own(
    report: Report, given: FilteredSet, store: FilteredStore, options: argparse.Namespace
) -> dict[str, Asked]:
    """Recall and speed of srvdb's filtered searches; the searches by their filters' names."""
    k, name = options.k, given.data.name
    whole, best = least(given, store, None, k)
    if whole is None:
        report.skip(f"{name}: recall {TARGET} is not reached unfiltered, at most {best:.4f}")
        return {}
    searches: dict[str, Asked] = {}
    for among in given.filters:
        same = ask(given, store.searcher(k, whole.effort, among), whole.effort, among, k)
        report.add(
            Measure(
                f"recall@{k}, ef={whole.effort}, {name}, {label(among)}",
                f"≥ {TARGET}, full answers",
                f"{same.recall:.4f}, {same.short} short (unfiltered {whole.recall:.4f})",
                same.recall,
                reached=same.recall >= TARGET and same.short == 0,
            )
        )
        found, best = least(given, store, among, k)
        if found is None:
            report.skip(f"{name}, {label(among)}: recall {TARGET} is not reached, at most {best}")
        else:
            searches[among.name] = found
    subjects: dict[str, Callable[[], float]] = {"": whole.taken}
    subjects |= {among: asked.taken for among, asked in searches.items()}
    taken = interleave(subjects, options.rounds)
    slowest = max(searches, key=lambda among: taken[among].over(taken[""]).median, default="")
    for among in given.filters:
        if among.name not in searches:
            continue
        ratio = taken[among.name].over(taken[""])
        micros = taken[among.name].median * 1e6
        asked = searches[among.name]
        is_slowest = among.name == slowest
        report.add(
            Measure(
                f"time at recall {TARGET}, {name}, {label(among)}"
                + (", the slowest" if is_slowest else ""),
                f"≤ {MUST_SLOWEST:g} × unfiltered",
                f"{with_interval(ratio)} × ({micros:.0f} µs, ef {asked.effort}, recall "
                f"{asked.recall:.4f}; unfiltered {taken[''].median * 1e6:.0f} µs, "
                f"ef {whole.effort})",
                ratio.median,
                ratio.interval,
                ratio.median <= MUST_SLOWEST,
                {"seconds": taken[among.name].values, "unfiltered": taken[""].values},
            )
        )
    return searches


def duels(
    report: Report,
    given: FilteredSet,
    ours: dict[str, Asked],
    peers: dict[str, FilteredStore],
    options: argparse.Namespace,
) -> None:
    """Each filter: srvdb against every peer in turns."""
    for among in given.filters:
        if among.name not in ours:
            continue
        subjects: dict[str, Callable[[], float]] = {"srvdb": ours[among.name].taken}
        notes = []
        for name, store in peers.items():
            asked, best = least(given, store, among, options.k)
            if asked is None:
                notes.append(f"{name} reaches {best:.3f} at most")
            else:
                subjects[name] = asked.taken
        taken = interleave(subjects, options.rounds)
        best_other = min(
            (name for name in OTHERS if name in taken),
            key=lambda name: taken[name].median,
            default=None,
        )
        for name, must in ((best_other, MUST_BEST), ("zvec", MUST_ZVEC)):
            if name is None or name not in taken:
                continue
            ratio = taken[name].over(taken["srvdb"])
            times = f"{taken['srvdb'].median * 1e6:.0f} / {taken[name].median * 1e6:.0f} µs"
            what = "the best of " + ", ".join(OTHERS) if name in OTHERS else name
            report.add(
                Measure(
                    f"faster than {what}, {given.data.name}, {label(among)}",
                    f"≥ {must:g} ×",
                    f"{with_interval(ratio)} × {name} ({times})",
                    ratio.median,
                    ratio.interval,
                    ratio.median >= must,
                    {name: samples.values for name, samples in taken.items()},
                )
            )
        for note in notes:
            report.skip(f"{given.data.name}, {label(among)}: {note}")


def measure_set(report: Report, given: FilteredSet, options: argparse.Namespace) -> None:
    store = STORES["srvdb"]()
    store.ready(given, options.cache)
    peers: dict[str, FilteredStore] = {}
    for name in options.peers:
        peer = STORES[name]()
        try:
            peer.ready(given, options.cache)
        except ImportError as error:
            report.skip(f"{name}: {error}")
            continue
        peers[name] = peer
    with pinned():
        ours = own(report, given, store, options)
        if peers:
            duels(report, given, ours, peers, options)
    for each in (store, *peers.values()):
        each.close()


def main() -> Path:
    parser = arguments(__doc__, sets=["sift-80k", "notes", "mnist"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--peers", nargs="*", choices=list(STORES)[1:], default=list(STORES)[1:])
    options = parser.parse_args()
    report = Report("filters", options.out)
    for name in options.sets:
        try:
            given = filter_sets.load(name)
        except FileNotFoundError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        measure_set(report, given, options)
    return report.finish()


if __name__ == "__main__":
    main()
