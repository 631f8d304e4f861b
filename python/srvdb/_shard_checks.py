"""What a batch for several shards is checked for before any of them is written.

The checks are those of the core, so that bad input applies nothing anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from srvdb._arrays import Floats, Metadata
from srvdb._native import dump_metadata, metadata_problem
from srvdb._updates import Updates
from srvdb.errors import InvalidInputError

# The limits of one atomic batch, as in the core.
_MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20
_MAX_ID_BYTES = 511
_MAX_METADATA_BYTES = 1 << 20


def as_id(id: object, where: str) -> str:
    """Return an id as it is.

    Raises
    ------
    InvalidInputError
        Not a str, empty, too long, or not something that can be stored.
    """
    if not isinstance(id, str):
        hint = "; write str(i)" if isinstance(id, (int, np.integer)) else ""
        raise InvalidInputError(f"{where}an id must be str, got {type(id).__name__} ({id!r}){hint}")
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"{where}the id is not valid Unicode: {id!r}") from None
    if not 1 <= size <= _MAX_ID_BYTES:
        raise InvalidInputError(f"{where}an id has 1 to {_MAX_ID_BYTES} bytes, got {size}")
    return id


def check_batch(
    ids: Sequence[str],
    rows: Floats,
    metadatas: Sequence[Metadata] | None,
    first_item: int,
) -> list[str | None] | None:
    """Check all that one shard would refuse; returns the metadata as text."""
    for i, id in enumerate(ids):
        as_id(id, f"item {first_item + i}: ")
    check_finite(rows, range(first_item, first_item + len(rows)))
    texts = None
    if metadatas is not None:
        texts = [_as_text(value, first_item + i) for i, value in enumerate(metadatas)]
    _check_size(ids, rows, texts or (), "use add_batch")
    return texts


def check_updates(updates: Updates) -> Updates:
    """Check all that one shard would refuse; returns the updates with metadata as text."""
    seen: dict[str, int] = {}
    for i, id in enumerate(updates.ids):
        as_id(id, f"item {i}: ")
        if id in seen:
            raise InvalidInputError(
                f"item {i}: id {id!r} stands in the batch already, as item {seen[id]}"
            )
        seen[id] = i
    check_finite(updates.rows, np.flatnonzero(updates.at >= 0).tolist())
    texts: list[Metadata] = [_as_text(value, i) for i, value in enumerate(updates.metadatas)]
    for i, text in enumerate(texts):
        expiry = -1 if updates.expires_at is None else updates.expires_at[i]
        if text is None and updates.at[i] < 0 and expiry < 0:
            raise InvalidInputError(
                f"item {i}: expected an embedding, metadata or expires_at to change, got none"
            )
    _check_size(updates.ids, updates.rows, texts, "use several calls")
    return updates._replace(metadatas=texts)


def _check_size(ids: Sequence[str], rows: Floats, texts: Sequence[Metadata], hint: str) -> None:
    size = rows.nbytes + sum(map(len, ids)) + sum(len(text or "") for text in texts)
    if len(ids) > _MAX_ROWS or size > _MAX_BYTES:
        raise InvalidInputError(
            f"one batch holds at most {_MAX_ROWS:,} rows and {_MAX_BYTES >> 20} MiB, got "
            f"{len(ids):,} rows and {math.ceil(size / 2**20)} MiB; {hint}"
        )


def check_finite(rows: Floats, items: Sequence[int]) -> None:
    """Refuse NaN and infinity; ``items`` are the numbers that messages give the rows."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        i = int(np.argmin(finite))
        component = int(np.argmin(np.isfinite(rows[i])))
        raise InvalidInputError(
            f"item {items[i]}: component {component} is {rows[i, component]}, "
            "expected a finite number"
        )


def _as_text(value: object, item: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict):
        value = dump_metadata(value, item)
    elif isinstance(value, str):
        problem = "must be a JSON object, got an empty str" if not value else None
        if problem is None:
            try:
                problem = metadata_problem(value)
            except UnicodeEncodeError:
                problem = "is not valid Unicode"
        if problem is not None:
            raise InvalidInputError(f"item {item}: metadata {problem}")
    else:
        raise InvalidInputError(
            f"item {item}: metadata must be a dict, a JSON object as text or None, "
            f"got {type(value).__name__}"
        )
    if len(value.encode()) > _MAX_METADATA_BYTES:
        raise InvalidInputError(f"item {item}: metadata is larger than 1 MiB")
    return value
