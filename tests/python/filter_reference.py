"""The language of filters in plain Python, written from cpp/FILTERS.md alone.

Rows are Python's own reading of the metadata text (``json.loads``).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

LONGEST_PATH = 500
COMMON_OPERATORS = ("$eq", "$ne", "$in", "$nin", "$not")
COMPARISONS = ("$gt", "$gte", "$lt", "$lte")
FIELD_OPERATORS = (*COMMON_OPERATORS, *COMPARISONS, "$exists", "$contains", "$regex")
ID_OPERATORS = (*COMMON_OPERATORS, "$prefix")


class RefusedError(Exception):
    """What is not in the grammar."""


class Found(NamedTuple):
    """A value at a path; an object or an empty array is None with ``container``."""

    value: Any
    element: bool = False
    container: bool = False


# ---- documents ----------------------------------------------------------------------------------


def values_of(document: dict[str, Any]) -> dict[str, list[Found]]:
    """Each path of a document with all that stands there."""
    paths: dict[str, list[Found]] = {}
    for path, found in _walk(document, None):
        paths.setdefault(path, []).append(found)
    return paths


def _walk(mapping: dict[str, Any], above: str | None) -> Iterator[tuple[str, Found]]:
    for key, value in mapping.items():
        path = key if above is None else f"{above}.{key}"
        if len(path.encode()) <= LONGEST_PATH:
            yield from _at(path, value, element=False)


def _at(path: str, value: Any, *, element: bool) -> Iterator[tuple[str, Found]]:
    if isinstance(value, dict):
        yield path, Found(None, container=True)
        yield from _walk(value, path)
    elif isinstance(value, list):
        if not value:
            yield path, Found(None, container=True)
        for item in value:
            yield from _at(path, item, element=True)
    else:
        yield path, Found(value, element)


# ---- values -------------------------------------------------------------------------------------


def kind_of(value: Any) -> str:
    """Null, boolean, number or string: values of different classes never compare."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string"


def equal(a: Any, b: Any) -> bool:
    return kind_of(a) == kind_of(b) and bool(a == b)


def _compare(operator: str, value: Any, operand: Any) -> bool:
    if kind_of(value) != kind_of(operand):
        return False
    if operator == "$gt":
        return bool(value > operand)
    if operator == "$gte":
        return bool(value >= operand)
    if operator == "$lt":
        return bool(value < operand)
    return bool(value <= operand)


def _holds(operator: str, operand: Any, found: Found) -> bool:
    """Whether a positive operator holds for one value."""
    if operator == "$exists":
        return True
    if found.container:
        return False
    value = found.value
    if operator == "$eq":
        return equal(value, operand)
    if operator == "$in":
        return any(equal(value, one) for one in operand)
    if operator == "$contains":
        if found.element:
            return equal(value, operand)
        return isinstance(value, str) and isinstance(operand, str) and operand in value
    if operator == "$regex":
        return isinstance(value, str) and re.search(operand, value) is not None
    return _compare(operator, value, operand)


# ---- conditions ---------------------------------------------------------------------------------


def matches(where: dict[str, Any], id: str, document: dict[str, Any]) -> bool:
    """Whether a row satisfies a filter that `check` takes."""
    return _condition(where, id, values_of(document))


def _condition(where: dict[str, Any], id: str, values: dict[str, list[Found]]) -> bool:
    for key, operand in where.items():
        if key == "$and":
            held = all(_condition(one, id, values) for one in operand)
        elif key == "$or":
            held = any(_condition(one, id, values) for one in operand)
        elif key == "$not":
            held = not _condition(operand, id, values)
        elif key == "$id":
            held = _operators(operand, [Found(id)])
        else:
            held = _operators(operand, values.get(key, []))
        if not held:
            return False
    return True


def _operators(operand: Any, found: list[Found]) -> bool:
    if not isinstance(operand, dict):
        operand = {"$eq": operand}
    return all(_operator(name, value, found) for name, value in operand.items())


def _operator(name: str, operand: Any, found: list[Found]) -> bool:
    if name == "$not":
        return not _operators(operand, found)
    if name == "$prefix":
        return any(one.value.startswith(operand) for one in found)
    if name == "$exists":
        return bool(found) is operand
    if name == "$ne":
        return not any(_holds("$eq", operand, one) for one in found)
    if name == "$nin":
        return not any(_holds("$in", operand, one) for one in found)
    return any(_holds(name, operand, one) for one in found)


# ---- the grammar --------------------------------------------------------------------------------


def check(where: Any) -> None:
    """Raise RefusedError for what is not in the grammar."""
    _need(isinstance(where, dict), "a condition is an object")
    for key, operand in where.items():
        if key in ("$and", "$or"):
            _need(isinstance(operand, list) and operand != [], "some conditions")
            for one in operand:
                check(one)
        elif key == "$not":
            check(operand)
        elif key == "$id":
            _check_operators(operand, ID_OPERATORS)
        else:
            _need(not key.startswith("$"), "a known operator")
            _need(len(key.encode()) <= LONGEST_PATH, "a short name")
            _check_operators(operand, FIELD_OPERATORS)


def _check_operators(operand: Any, known: tuple[str, ...]) -> None:
    if not isinstance(operand, dict):
        operand = {"$eq": operand}
    _need(operand != {}, "some operators")
    for name, value in operand.items():
        _need(name in known, "a known operator")
        if name == "$not":
            _need(isinstance(value, dict), "operators")
            _check_operators(value, known)
        elif name in ("$in", "$nin"):
            _need(isinstance(value, list), "a list")
            for one in value:
                _check_scalar(one, known)
        elif name == "$exists":
            _need(isinstance(value, bool), "a boolean")
        elif name in ("$regex", "$prefix"):
            _need(isinstance(value, str), "a string")
        else:
            _check_scalar(value, known)
            if name in COMPARISONS:
                _need(kind_of(value) in ("number", "string"), "a number or a string")


def _check_scalar(value: Any, known: tuple[str, ...]) -> None:
    _need(not isinstance(value, (dict, list)), "a scalar")
    if known is ID_OPERATORS:
        _need(isinstance(value, str), "an id is a string")
    if isinstance(value, int) and not isinstance(value, bool):
        _need(-(2**63) <= value < 2**64, "an integer of 64 bits")
    if isinstance(value, float):
        _need(math.isfinite(value), "a finite number")


def _need(held: bool, expected: str) -> None:
    if not held:
        raise RefusedError(expected)


# ---- facets -------------------------------------------------------------------------------------


def facet(field: str, documents: list[dict[str, Any]]) -> Counter[tuple[str, Any]]:
    """How many documents have each value at a path, by class and value."""
    counts: Counter[tuple[str, Any]] = Counter()
    for document in documents:
        found = values_of(document).get(field, [])
        counts.update({(kind_of(one.value), one.value) for one in found if not one.container})
    return counts


def as_text(where: Any) -> str:
    """A filter as the core takes it."""
    return json.dumps(where, ensure_ascii=False)
