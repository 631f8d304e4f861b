"""Recall against queries a second, a curve for each library: its Pareto front over all settings."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frontier
from benchmarks.peers.measure import SetResult, by_library
from benchmarks.peers.registry import GRAPHS

LOWEST_RECALL = 0.8
TICKS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
CLOSE = 5e-4  # distance from 1 that the axis still resolves


def _stretched(recall: Any) -> Any:
    return -np.log10(np.maximum(1 - np.asarray(recall), 0) + CLOSE)


def _recall(stretched: Any) -> Any:
    return 1 + CLOSE - np.power(10.0, -np.asarray(stretched))


def draw(result: SetResult, path: Path, command: str) -> bool:
    """Write an SVG (or what the ending of `path` says); False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "srvdb"  # the same figures give the same bytes
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for library, curves in by_library(result.curves).items():
        points = [point for curve in curves for point in curve.reported()]
        front = [p for p in frontier.pareto_front(points) if p[0] >= LOWEST_RECALL]
        if front:
            ours = library == "srvdb"
            axes.plot(
                [recall for recall, _ in front],
                [rate for _, rate in front],
                marker="o" if ours else ".",
                linewidth=2.5 if ours else 1.2,
                color="black" if ours else f"C{list(GRAPHS).index(library)}",
                label=library,
            )
    axes.set_yscale("log")
    axes.set_xscale("function", functions=(_stretched, _recall))
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries a second of processor time, one by one")
    axes.set_title(f"{result.name}, {result.rows:,} × {result.dim}, {result.metric}")
    axes.grid(visible=True, which="both", alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize="small")
    shown = textwrap.fill(f"$ {command}", 130).replace("$", r"\$")
    figure.text(0.01, -0.01, shown, fontsize=5, family="monospace", verticalalignment="top")
    undated = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=undated, bbox_inches="tight")
    pyplot.close(figure)
    return True
