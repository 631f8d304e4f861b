"""Vector sets with attributes, and filters on them with their exact answers.

Beside its `data.npz` such a set has a `filters.json`: filters on the arrays `attr_<field>`, whose
nearest matching rows to the first queries are the arrays `filter_gt` and `filter_gt_dist`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import datasets
from benchmarks.datasets import Rows, VectorSet

OPERATORS = {"==": "$eq", ">=": "$gte", "<": "$lt", "in": "$in"}


@dataclass(frozen=True)
class Filter:
    """A condition on one field, and its exact answers: row numbers, padded with -1."""

    name: str
    field: str
    operator: str  # "==", ">=", "<" or "in"
    value: Any
    matching: int
    rows: int
    truth: Rows

    @property
    def share(self) -> float:
        return self.matching / self.rows

    @property
    def where(self) -> dict[str, Any]:
        """The filter as srvdb and Chroma write it."""
        return {self.field: {OPERATORS[self.operator]: self.value}}


@dataclass(frozen=True)
class FilteredSet:
    """A set whose queries are those that the filters have answers to."""

    data: VectorSet
    attributes: dict[str, NDArray[np.generic]]
    filters: list[Filter]

    def metadata(self) -> list[dict[str, Any]]:
        """The attributes of each row."""
        names = list(self.attributes)
        columns = [self.attributes[name].tolist() for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def load(name: str) -> FilteredSet:
    """Load one set by its name or short name.

    Raises
    ------
    FileNotFoundError
        When there is no such set, or it has no filters.
    """
    data = datasets.load(name)
    path = datasets.data_directory() / data.name / "filters.json"
    if not path.exists():
        raise FileNotFoundError(f"{data.name} has no filters: {path} does not exist")
    listed = json.loads(path.read_text())["filters"]
    with np.load(path.with_name("data.npz")) as arrays:
        truth = arrays["filter_gt"].astype(np.int64)
        attributes = {
            key.removeprefix("attr_"): arrays[key] for key in arrays.files if key[:5] == "attr_"
        }
    filters = [
        Filter(
            entry["name"],
            entry["field"],
            entry["op"],
            entry["value"],
            entry["matching"],
            len(data.base),
            truth[entry["gt_row"]],
        )
        for entry in listed
    ]
    return FilteredSet(data.head(queries=truth.shape[1]), attributes, filters)
