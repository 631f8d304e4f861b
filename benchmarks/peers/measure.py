"""One set: the curve and the costs of every library, and srvdb against each of them in turns.

The settings a library takes part with are those that are fastest at the target recall on the
tuning half of the queries; all that is reported comes from the other half.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frontier
from benchmarks.datasets import VectorSet
from benchmarks.memory import warm_files
from benchmarks.peers.graph import Shape
from benchmarks.peers.jobs import Jobs, Skipped, digest
from benchmarks.peers.registry import folder_of, from_spec, library_of, versions
from benchmarks.report import machine
from benchmarks.timing import Samples

MARGIN = 0.001  # a sweep goes so far beyond the highest target, since two halves differ a little
ASKED = 600  # queries of an opening job


@dataclass(frozen=True)
class Plan:
    """What is asked of every set."""

    targets: Sequence[float]
    modes: Sequence[str]
    k: int
    queries: int  # of each half, at most
    rounds: int
    build_threads: int
    cache: Path
    rebuild: bool = False
    openings: int = 3
    clock: str = "wall"


@dataclass
class Curve:
    """One spec on one set: how it was built, and recall and rate at each effort."""

    spec: str
    built: dict[str, Any]
    points: list[dict[str, float]]
    openings: list[dict[str, float]] = field(default_factory=list)

    def tuning(self) -> list[frontier.Point]:
        return [(point["tuning"], point["tuning_qps"]) for point in self.points]

    def reported(self) -> list[frontier.Point]:
        return [(point["recall"], point["qps"]) for point in self.points]

    def recall_at(self) -> dict[int, float]:
        return {int(point["effort"]): point["recall"] for point in self.points}


@dataclass(frozen=True)
class Outcome:
    """srvdb against one library at one recall, in one mode: rates of every round."""

    target: float
    mode: str
    ours: str
    theirs: str
    our_rate: Samples
    their_rate: Samples

    @property
    def ratio(self) -> Samples:
        return self.our_rate.over(self.their_rate)


@dataclass(frozen=True)
class SetResult:
    """What was found on one set, without the set."""

    name: str
    rows: int
    dim: int
    metric: str
    bytes_only: bool
    curves: list[Curve]
    outcomes: list[Outcome]


class SetRun:
    """All jobs about one set."""

    def __init__(self, data: VectorSet, rows: int | None, plan: Plan, jobs: Jobs) -> None:
        self.data = data
        self.rows = rows
        self.plan = plan
        self.jobs = jobs
        self.about = {"rows": data.fingerprint(), "queries": _digest(data.queries)}

    def _depends(self, specs: Sequence[str]) -> dict[str, Any]:
        indexes = [from_spec(spec) for spec in specs]
        libraries = [
            [index.name, versions(index), index.parameters(), index.options()] for index in indexes
        ]
        return {"data": self.about, "machine": machine(), "libraries": libraries}

    def _job(self, kind: str, **parts: Any) -> dict[str, Any]:
        cache = str(self.plan.cache)
        return {"kind": kind, "set": self.data.name, "rows": self.rows, "cache": cache, **parts}

    def _run(
        self, specs: Sequence[str], job: dict[str, Any], again: bool = False
    ) -> dict[str, Any]:
        name = "-".join([self.data.name, *specs])
        for sign in ":=,/":
            name = name.replace(sign, "-")
        return self.jobs.run(name, job, self._depends(specs), again)

    def build(self, spec: str) -> dict[str, Any]:
        """Build the index of a spec unless it is kept.

        Raises
        ------
        ImportError, Skipped
            When the library is missing, refuses the rows, fails, or takes too long.
        """
        index = from_spec(spec)
        versions(index)
        refused = index.refuses(Shape.of(self.data))
        if refused:
            raise Skipped(f"{spec} on {self.data.name}: {refused}")
        threads, rebuild = self.plan.build_threads, self.plan.rebuild
        note = folder_of(index, self.data, self.plan.cache) / "built.json"
        if note.exists() and not rebuild:
            return dict(json.loads(note.read_text()))
        print(f"  building {spec} over {self.data.name} ...", flush=True)
        job = self._job("build", spec=spec, threads=threads, rebuild=rebuild)
        return self._run([spec], job, again=True)

    def curve(self, spec: str) -> Curve:
        """Build, sweep and open a spec; raises as `build` does."""
        built = self.build(spec)
        print(f"  sweeping {spec} over {self.data.name} ...", flush=True)
        job = self._job(
            "sweep",
            spec=spec,
            k=self.plan.k,
            queries=self.plan.queries,
            until=max(self.plan.targets) + MARGIN,
        )
        return Curve(spec, built, self._run([spec], job)["points"], self._open(spec))

    def _open(self, spec: str) -> list[dict[str, float]]:
        path = folder_of(from_spec(spec), self.data, self.plan.cache) / "index"
        shape = Shape.of(self.data)
        found = []
        with tempfile.TemporaryDirectory() as folder:
            queries = Path(folder) / "queries.npy"
            np.save(queries, self.data.queries[:ASKED])
            for number in range(self.plan.openings):
                if number == 0:
                    warm_files(path)
                job = self._job(
                    "open",
                    spec=spec,
                    path=str(path),
                    queries=str(queries),
                    shape=[shape.rows, shape.dim, shape.metric, shape.bytes_only],
                    k=self.plan.k,
                    number=number,
                )
                found.append(self._run([spec], job))
        return found

    def duels(self, ours: Curve, theirs: Sequence[Curve]) -> list[Outcome]:
        """srvdb against the configurations of one library, at every target and in every mode."""
        chosen: dict[str, list[float]] = {}
        for target in self.plan.targets:
            curves = {curve.spec: curve.tuning() for curve in theirs}
            best = frontier.best_at(curves, target)
            reached = frontier.interpolate(ours.reported(), target) is not None
            if best is not None and reached:
                chosen.setdefault(best, []).append(target)
        by_spec = {curve.spec: curve for curve in theirs}
        outcomes = []
        for spec, targets in chosen.items():
            outcomes += self._duel(ours, by_spec[spec], targets)
        return sorted(outcomes, key=lambda o: (self.plan.modes.index(o.mode), o.target))

    def _duel(self, ours: Curve, theirs: Curve, targets: Sequence[float]) -> list[Outcome]:
        sides = {"ours": ours, "theirs": theirs}
        asked = {
            side: {"spec": curve.spec, "efforts": frontier.bracket(curve.recall_at(), targets)}
            for side, curve in sides.items()
        }
        job = self._job(
            "duel",
            **asked,
            k=self.plan.k,
            queries=self.plan.queries,
            modes=list(self.plan.modes),
            rounds=self.plan.rounds,
            clock=self.plan.clock,
        )
        print(f"  {ours.spec} and {theirs.spec} in turns over {self.data.name} ...", flush=True)
        rates = self._run([ours.spec, theirs.spec], job)["rates"]
        outcomes = []
        for mode in self.plan.modes:
            for target in targets:
                mine, other = (
                    rate_at(target, curve.recall_at(), asked[side]["efforts"], side, rates[mode])
                    for side, curve in sides.items()
                )
                if mine is not None and other is not None:
                    outcomes.append(Outcome(target, mode, ours.spec, theirs.spec, mine, other))
        return outcomes


def rate_at(
    target: float,
    recall_at: dict[int, float],
    efforts: Sequence[int],
    side: str,
    rates: dict[str, Sequence[float]],
) -> Samples | None:
    """The interpolated rate at a target recall, one a round; None when it is not reached."""
    found = []
    for number in range(len(next(iter(rates.values())))):
        points = [(recall_at[effort], rates[f"{side} {effort}"][number]) for effort in efforts]
        rate = frontier.interpolate(points, target)
        if rate is None:
            return None
        found.append(rate)
    return Samples(tuple(found))


def _digest(queries: Any) -> str:
    return digest({"queries": np.ascontiguousarray(queries).tobytes().hex()})


def by_library(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves of the same library together, in the order of their first."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(library_of(curve.spec), []).append(curve)
    return found
