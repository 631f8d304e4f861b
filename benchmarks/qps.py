"""Queries a second at a given recall: srvdb against other graph indexes, one by one and in batches.

Each library is swept over its search effort and its own settings on the even queries; srvdb and
the best setting of each library then take turns on the odd ones, and the rate at exactly the
target recall is interpolated round by round. Called from Python, threads pinned, answers are the
users' ids. srvdb answers from a durable database opened from disk; the peers as they load.

Results are kept (see `peers/jobs.py`): what was cut goes on where it was, and a new build of srvdb
measures only itself and its duels again. `--stop-after build` makes the indexes and no more.
Writes `qps.json`, `qps.md` with tables, and a plot for each set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import datasets
from benchmarks.datasets import VectorSet
from benchmarks.peers import plots, tables
from benchmarks.peers.graph import Shape
from benchmarks.peers.hnswlib_graph import Hnswlib
from benchmarks.peers.jobs import Jobs, Skipped
from benchmarks.peers.measure import Curve, Outcome, Plan, SetResult, SetRun, by_library
from benchmarks.peers.registry import CONFIGURATIONS, configurations, library_of
from benchmarks.report import Measure, Report, arguments, has_avx512, with_interval
from benchmarks.timing import verdict

SETS = ["sift-957k", "mnist", "proposals-768", "notes", "notes:ood", "words", "near-duplicates"]
MODES = {"one": "one by one", "batch1": "batch, 1 thread", "batch2": "batch, 2 threads"}
LARGE = 50_000  # rows from which a set has to reach `MUST`
MUST = {0.95: 3.0, 0.99: 3.5}  # times hnswlib, one by one
HARD = ("notes-ml-384-angular:ood", "near-duplicates")
MUST_HARD = {0.95: 1.5}
MUST_BEST = {"one": 1.0, "batch1": 1.2, "batch2": 1.2}  # times the best, at `MUST`'s recalls


def title_of(data: VectorSet, outcome: Outcome, k: int) -> str:
    return f"QPS at recall@{k} {outcome.target:g}, {MODES[outcome.mode]}, {data.name}"


def described(outcome: Outcome) -> str:
    ratio, theirs = outcome.ratio, outcome.theirs
    rates = f"{outcome.our_rate.median:,.0f} / {outcome.their_rate.median:,.0f} QPS"
    tie = ", a tie" if verdict(ratio) == "tie" else ""
    return f"{with_interval(ratio)} × {theirs} ({rates}{tie})"


def must_of(data: VectorSet, outcome: Outcome) -> float | None:
    """What has to be reached against hnswlib."""
    if outcome.mode != "one" or outcome.theirs.partition(":")[0] != "hnswlib":
        return None
    if data.name in HARD:
        return MUST_HARD.get(outcome.target)
    return MUST.get(outcome.target) if len(data.base) >= LARGE else None


def record(data: VectorSet, outcomes: list[Outcome], k: int, report: Report) -> None:
    """A line for every duel, and for every mode and recall one against the best peer."""
    best: dict[tuple[str, float], Outcome] = {}
    for outcome in outcomes:
        must, ratio = must_of(data, outcome), outcome.ratio
        detail = {"ours": outcome.our_rate.values, "theirs": outcome.their_rate.values}
        asked = "" if must is None else f"≥ {must:g} × hnswlib"
        reached = None if must is None else ratio.median >= must
        line = title_of(data, outcome, k)
        text = described(outcome)
        report.add(Measure(line, asked, text, ratio.median, ratio.interval, reached, detail))
        key = (outcome.mode, outcome.target)
        if key not in best or ratio.median < best[key].ratio.median:
            best[key] = outcome
    kind = "bytes" if data.bytes_only else "floats"
    for (mode, target), outcome in best.items():
        must = MUST_BEST[mode] if target in MUST else None
        ratio = outcome.ratio
        line = f"{title_of(data, outcome, k)} ({kind}), best peer"
        asked = "" if must is None else f"≥ {must:g} × the best peer"
        reached = None if must is None else ratio.median >= must
        text = described(outcome)
        report.add(Measure(line, asked, text, ratio.median, ratio.interval, reached))


def measure_set(
    data: VectorSet, plan: Plan, jobs: Jobs, options: argparse.Namespace, report: Report
) -> SetResult:
    run = SetRun(data, options.rows, plan, jobs)
    specs = [
        *options.srvdb,
        *(
            spec
            for peer in options.peers
            for spec in configurations(peer, options.settings == "all")
        ),
    ]
    curves: list[Curve] = []
    for spec in specs:
        try:
            if options.stop_after == "build":
                run.build(spec)
            else:
                curves.append(run.curve(spec))
        except (ImportError, Skipped) as error:
            report.skip(f"{spec} on {data.name}: {error}")
    ours = [curve for curve in curves if library_of(curve.spec) == "srvdb"]
    theirs = by_library([curve for curve in curves if library_of(curve.spec) != "srvdb"])
    outcomes: list[Outcome] = []
    if options.stop_after is None:
        for curve in ours:
            mine: list[Outcome] = []
            for library in theirs.values():
                try:
                    mine += run.duels(curve, library)
                except Skipped as error:
                    report.skip(str(error))
            record(data, mine, plan.k, report)
            outcomes += mine
    note_unreached(data, curves, plan, report)
    about = Shape.of(data)
    return SetResult(
        data.name, about.rows, about.dim, about.metric, about.bytes_only, curves, outcomes
    )


def note_unreached(data: VectorSet, curves: list[Curve], plan: Plan, report: Report) -> None:
    for curve in curves:
        best = max((point["recall"] for point in curve.points), default=0.0)
        missed = [f"{target:g}" for target in plan.targets if best < target]
        if missed:
            wanted = f"recall {', '.join(missed)} not reached"
            report.skip(f"{curve.spec} on {data.name}: {wanted}, at most {best:.4f}")


def parse() -> argparse.Namespace:
    parser = arguments(__doc__, SETS)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.90, 0.95, 0.99])
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--queries", type=int, default=1000, help="queries to tune on, and to time")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument(
        "--srvdb", nargs="*", default=["srvdb"], help="with build parameters: srvdb:m=24"
    )
    parser.add_argument(
        "--peers", nargs="*", default=list(CONFIGURATIONS), help="as hnswlib hnswlib:m=32"
    )
    parser.add_argument(
        "--settings",
        choices=["all", "first"],
        default="all",
        help="of the peers: all, or only those that need no second index",
    )
    parser.add_argument(
        "--clock",
        choices=["wall", "processor"],
        default="wall",
        help="processor: the process's own time, for a busy machine; not for several threads",
    )
    parser.add_argument("--build-threads", type=int, default=2)
    parser.add_argument("--rebuild", action="store_true", help="build again what the cache holds")
    parser.add_argument(
        "--fresh", nargs="+", default=[], choices=["open", "sweep", "duel"], help="run these again"
    )
    parser.add_argument("--limit", type=float, default=3600, help="seconds one job may take")
    parser.add_argument("--stop-after", choices=["build", "sweep"], help="and leave out the rest")
    return parser.parse_args()


def main() -> Path:
    options = parse()
    report = Report("qps", options.out)
    plan = Plan(
        targets=options.targets,
        modes=options.modes,
        k=options.k,
        queries=options.queries,
        rounds=options.rounds,
        build_threads=options.build_threads,
        cache=options.cache.resolve(),
        rebuild=options.rebuild,
        clock=options.clock,
    )
    jobs = Jobs(plan.cache / "measured", options.limit, options.fresh)
    if has_avx512() and "hnswlib" in options.peers:
        note_instructions(report)
    results: list[SetResult] = []
    for data in datasets.load_present(options.sets):
        results.append(measure_set(data.head(options.rows), plan, jobs, options, report))
        write(results, options.out, report.command)
    return report.finish()


def note_instructions(report: Report) -> None:
    try:
        used = Hnswlib.instructions()
    except ImportError:
        return  # skipped with its reason later
    if used not in (None, "AVX-512"):
        report.skip("hnswlib's AVX-512: it was compiled elsewhere, see README.md")


def write(results: list[SetResult], out: Path, command: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "qps.md").write_text(tables.markdown(results, command))
    newest = results[-1]
    if newest.curves:
        name = newest.name.replace(":", "-").replace("/", "-")
        plots.draw(newest, out / f"qps-{name}.svg", command)


if __name__ == "__main__":
    main()
