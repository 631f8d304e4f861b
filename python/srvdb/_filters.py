"""``where=``: what callers pass → the JSON text that the core reads.

The language is described in the repository's ``cpp/FILTERS.md``; here it is only written down. What
JSON cannot hold is refused with the path inside the expression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from datetime import date
from typing import Any, TypeAlias

import numpy as np

from srvdb._native import dump_metadata
from srvdb.errors import FilterError, InvalidInputError

#: A filter: a dict in the style of MongoDB, or the same as JSON text.
Where: TypeAlias = Mapping[str, Any] | str

_LEAST, _MOST = -(2**63), 2**64 - 1
_DEEPEST = 200
_LONGEST_PATH = 200  # characters of it in a message


def as_indexed_fields(fields: object) -> list[str] | None:
    """Return the paths of the fields that are to be indexed; None: all of them.

    Raises
    ------
    InvalidInputError
        Neither ``"all"`` nor a list of paths.
    """
    if fields == "all":
        return None
    if isinstance(fields, Sequence | Set) and not isinstance(fields, str | bytes):
        paths = list(fields)
        if all(isinstance(path, str) for path in paths):
            return paths
    raise InvalidInputError(
        f'indexed_fields must be "all" or a list of paths such as ["year", "author.name"], '
        f"got {fields!r:.80}"
    )


def as_where(where: object) -> str:
    """Return a filter as JSON text, and ``""`` for None.

    Raises
    ------
    FilterError
        Neither a dict nor text, or a dict with something in it that JSON cannot hold.
    """
    if where is None:
        return ""
    if isinstance(where, str):
        return _as_text(where)
    if not isinstance(where, Mapping):
        raise FilterError(f"where must be a dict, got {type(where).__name__} ({where!r:.80})")
    plain = where if type(where) is dict else dict(where)
    try:
        return dump_metadata(plain)
    except InvalidInputError as error:
        raise FilterError(_problem(plain, "", 0) or str(error)) from None


def as_wheres(where: object, n: int) -> tuple[str, list[str]]:
    """Return a filter for all queries, or one for each of ``n``, as the core takes them.

    Raises
    ------
    FilterError
        As for ``as_where``, or a list of another length.
    """
    if isinstance(where, (list, tuple)):
        if len(where) != n:
            raise FilterError(
                f"expected one filter, or one for each of {n} queries; got {len(where)}"
            )
        return "", [_numbered(i, one) for i, one in enumerate(where)]
    return as_where(where), []


def _numbered(i: int, where: object) -> str:
    try:
        return as_where(where)
    except FilterError as error:
        raise FilterError(f"where[{i}]: {error}") from None


def as_name(value: object, name: str) -> str:
    """Return the name of a field (which JSON allows to be empty), or an id.

    Raises
    ------
    InvalidInputError
        No str, or one that is not valid Unicode.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be str, got {type(value).__name__} ({value!r:.80})")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"{name} is not valid Unicode (a lone surrogate): {value!r:.80}"
        ) from None
    return value


def is_filter(verb: str, ids: object, where: object) -> bool:
    """Return whether rows are named by a filter, not by ids.

    Raises
    ------
    InvalidInputError
        Both are given, or neither is.
    """
    if (ids is None) == (where is None):
        raise InvalidInputError(
            f"{verb} takes ids or where, got {'neither' if ids is None else 'both'}"
            + ("" if ids is None else '; {"$id": {"$in": ids}} is a filter for ids')
        )
    return where is not None


def _as_text(where: str) -> str:
    if not where:
        raise FilterError("where must be a dict or JSON text, got an empty str")
    try:
        where.encode()
    except UnicodeEncodeError:
        raise FilterError("where is not valid Unicode (a lone surrogate)") from None
    return where


def _problem(value: object, path: str, depth: int) -> str | None:
    """Return what JSON cannot hold, with its path."""
    where = path if len(path) <= _LONGEST_PATH else f"…{path[-_LONGEST_PATH:]}"
    where = where or "where"
    if isinstance(value, np.generic):
        value = value.item()
    if depth > _DEEPEST:
        return f"{where}: nested more than {_DEEPEST} deep"
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                return f"{where}: keys must be str, got {type(key).__name__} ({key!r:.80})"
            below = f"{path}.{key}" if path else key
            found = _scalar_problem(key, where) or _problem(part, below, depth + 1)
            if found:
                return found
        if type(value) is dict:
            return None
        return f"{where}: expected a dict, got {type(value).__name__}; write dict(...)"
    if isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            found = _problem(part, f"{path}[{i}]", depth + 1)
            if found:
                return found
        return None
    return _scalar_problem(value, where)


def _scalar_problem(value: object, where: str) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{where}: not valid Unicode (a lone surrogate): {value!r:.80}"
        return None
    if isinstance(value, int):
        if _LEAST <= value <= _MOST:
            return None
        return f"{where}: expected an integer of 64 bits, got one of {value.bit_length()} bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where}: expected a finite number, got {value}"
    hint = ""
    if isinstance(value, date):
        hint = "; write value.isoformat(), dates compare as strings do"
    elif isinstance(value, np.ndarray):
        hint = "; write value.tolist()"
    elif isinstance(value, (Set, Sequence)):
        hint = "; write list(value)"
    return (
        f"{where}: expected a string, a number, a boolean, None, a list or a dict, "
        f"got {type(value).__name__} ({value!r:.80}){hint}"
    )
