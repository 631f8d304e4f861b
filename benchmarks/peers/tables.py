"""What the comparison found, as Markdown: ratios, curves' best settings, and costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.peers.measure import Curve, Outcome, SetResult
from benchmarks.timing import verdict

MODES = {"one": "one by one", "batch1": "batch, 1 thread", "batch2": "batch, 2 threads"}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell(outcome: Outcome) -> str:
    """`ratio [low, high]`, marked where it is a tie."""
    low, high = outcome.ratio.interval
    tie = " tie" if verdict(outcome.ratio) == "tie" else ""
    return f"{outcome.ratio.median:.2f} [{low:.2f}, {high:.2f}]{tie}"


def ratios(results: Sequence[SetResult], mode: str) -> list[str]:
    """srvdb's rate over each library's at each recall: a row a set, a column a library."""
    outcomes = [o for result in results for o in result.outcomes if o.mode == mode]
    if not outcomes:
        return []
    libraries = list(dict.fromkeys(o.theirs.partition(":")[0] for o in outcomes))
    mine = list(dict.fromkeys(o.ours for o in outcomes))
    lines = [
        _line(["set", "recall", "srvdb, QPS", *libraries]),
        "|---" * (len(libraries) + 3) + "|",
    ]
    for result in results:
        for ours in mine:
            for target in sorted({o.target for o in result.outcomes if o.mode == mode}):
                here = {
                    o.theirs.partition(":")[0]: o
                    for o in result.outcomes
                    if (o.mode, o.ours, o.target) == (mode, ours, target)
                }
                if not here:
                    continue
                rate = median(o.our_rate.median for o in here.values())
                name = result.name if len(mine) == 1 else f"{result.name}, `{ours}`"
                cells = [cell(here[lib]) if lib in here else "–" for lib in libraries]
                lines.append(_line([name, f"{target:g}", f"{rate:,.0f}", *cells]))
    return lines


def cost(curve: Curve, rows: int) -> list[str]:
    """Build, disk, opening and memory of one spec."""
    built, opened = curve.built, curve.openings

    def middle(name: str) -> float:
        return median(opening[name] for opening in opened) if opened else float("nan")

    memory = middle("anonymous_bytes") + middle("file_bytes")
    return [
        f"`{curve.spec}`",
        f"{built['build_s']:.1f}",
        f"{built['processor_s']:.1f}",
        f"{built['peak_bytes'] / 1e6:,.0f}",
        f"{built['disk_bytes'] / 1e6:,.0f}",
        f"{middle('open_ms'):.1f}",
        f"{middle('answer_ms'):.1f}",
        f"{middle('minor_faults'):,.0f}",
        f"{memory / 1e6:,.0f}",
        f"{memory / rows:,.0f}",
    ]


COSTS = [
    "library",
    "build, s",
    "processor time of that, s",
    "peak memory of that, MB",
    "on disk, MB",
    "open, ms",
    "first answer, ms",
    "page faults",
    "memory, MB",
    "bytes a row",
]


def markdown(results: Sequence[SetResult], command: str) -> str:
    """Everything, floats and bytes apart."""
    text = [f"`{command}`", ""]
    for kind, wanted in (("float32 data", False), ("uint8 data", True)):
        some = [result for result in results if result.bytes_only == wanted]
        for mode, title in MODES.items():
            lines = ratios(some, mode)
            if lines:
                text += [f"### {title}, {kind}: srvdb's rate over the other's", "", *lines, ""]
    for result in results:
        if result.curves:
            shape = f"{result.rows:,} × {result.dim}, {result.metric}"
            text += [f"### Costs: {result.name} ({shape})", ""]
            text += [_line(COSTS), "|---" * len(COSTS) + "|"]
            text += [_line(cost(curve, result.rows)) for curve in result.curves] + [""]
    return "\n".join(text)
