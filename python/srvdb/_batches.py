"""``add_batch``: an input of any size or shape, cut into pieces, written piece by piece.

The input is one of

- ids, embeddings and metadatas as for ``add``, of any length;
- an iterable of rows ``(id, vector)`` or ``(id, vector, metadata)``;
- an iterable of pieces ``(ids, embeddings)`` or ``(ids, embeddings, metadatas)``.

Each piece becomes one float32 array, and the core takes it window by window, so that memory stays
bounded and nothing is copied that is float32 already.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from srvdb._arrays import (
    Floats,
    Metadata,
    as_ids,
    as_matrix,
    as_metadatas,
    check_lengths,
)
from srvdb.errors import InvalidInputError

#: Bytes that one atomic write aims for.
WINDOW_BYTES = 24 << 20
#: Rows that one atomic write holds at most.
WINDOW_ROWS = 65_536


class Piece(NamedTuple):
    """Rows that are ready for the core."""

    ids: list[str] | tuple[str, ...]
    rows: Floats
    metadatas: list[Metadata] | tuple[Metadata, ...] | None
    first_item: int  # number of ids[0] in the whole input


#: Converts a piece when it is called, perhaps in another thread.
Maker: TypeAlias = Callable[[], Piece]


def input_length(ids: object) -> int | None:
    """Return how many rows the input has, or None when only reading it tells."""
    return len(ids) if isinstance(ids, (list, tuple, np.ndarray)) else None


def pieces(ids: Any, embeddings: Any, metadatas: Any, threads: int) -> Iterator[Piece]:
    """Cut the input of ``add_batch`` into pieces.

    With more than one thread the next piece is converted while the caller writes this one; its
    vectors are copied before more input is asked for, as a generator may refill one buffer.
    """
    if embeddings is not None:
        makers = _from_arrays(ids, embeddings, metadatas)
    elif metadatas is not None:
        raise InvalidInputError("add_batch got metadatas without embeddings")
    else:
        makers = _from_items(ids, ahead=threads != 1)
    if threads == 1:
        return (make() for make in makers)
    return _one_ahead(makers)


def note_added(error: BaseException, added: int) -> None:
    """Say on the error how many rows had been added when it came."""
    error.added = added  # type: ignore[attr-defined]
    if sys.version_info >= (3, 11):
        error.add_note(f"add_batch had added {added:,} rows before")


def _one_ahead(makers: Iterator[Maker]) -> Iterator[Piece]:
    with ThreadPoolExecutor(1, thread_name_prefix="srvdb-convert") as pool:
        ready = None
        for make in makers:
            following = pool.submit(make)
            if ready is not None:
                yield ready.result()
            ready = following
        if ready is not None:
            yield ready.result()


def _from_arrays(ids: Any, embeddings: Any, metadatas: Any) -> Iterator[Maker]:
    ids = as_ids(ids)
    metadatas = as_metadatas(metadatas)
    if not hasattr(embeddings, "__len__"):
        embeddings = as_matrix(embeddings, "embeddings")
    if len(embeddings) != len(ids):  # perhaps one vector; the conversion then says so
        embeddings = as_matrix(embeddings, "embeddings")
    check_lengths(ids, embeddings, metadatas)
    if isinstance(embeddings, np.ndarray) and (
        embeddings.dtype == np.float32 and embeddings.flags.c_contiguous
    ):
        yield lambda: Piece(ids, as_matrix(embeddings, "embeddings"), metadatas, 0)
        return
    step = _rows_in_window(embeddings)
    for start in range(0, len(ids), step):
        yield _slice_maker(ids, embeddings, metadatas, start, start + step)


def _slice_maker(ids: Any, embeddings: Any, metadatas: Any, start: int, stop: int) -> Maker:
    def make() -> Piece:
        part = slice(start, stop)
        rows = embeddings.iloc[part] if hasattr(embeddings, "iloc") else embeddings[part]
        return Piece(
            ids[part],
            as_matrix(rows, "embeddings", start),
            None if metadatas is None else metadatas[part],
            start,
        )

    return make


def _rows_in_window(embeddings: Any) -> int:
    if not len(embeddings):
        return 1
    shape = getattr(embeddings, "shape", None)
    try:
        dimension = shape[1] if shape is not None and len(shape) == 2 else len(embeddings[0])
    except TypeError:  # not vectors at all: the conversion says so
        dimension = 1
    return max(1, min(WINDOW_ROWS, WINDOW_BYTES // (4 * max(1, dimension))))


def _from_items(items: Any, ahead: bool) -> Iterator[Maker]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise InvalidInputError(
            "add_batch takes ids and embeddings, or an iterable of (id, vector[, metadata]) "
            f"tuples; got {type(items).__name__}"
        )
    iterator = iter(items)
    first = next(iterator, None)
    if first is None:
        return
    if not isinstance(first, (tuple, list)) or len(first) not in (2, 3):
        raise InvalidInputError(
            f"item 0: expected (id, vector[, metadata]), got {type(first).__name__}"
        )
    everything = itertools.chain([first], iterator)
    if isinstance(first[0], str) or not isinstance(first[0], (list, tuple, np.ndarray)):
        yield from _from_rows(everything, len(first[1]) if hasattr(first[1], "__len__") else 1)
    else:
        yield from _from_pieces(everything, ahead)


def _from_rows(rows: Iterator[Any], dimension: int) -> Iterator[Maker]:
    step = max(1, min(WINDOW_ROWS, WINDOW_BYTES // (4 * max(1, dimension))))
    start = 0
    while True:
        part = list(itertools.islice(rows, step))
        if not part:
            return
        for i, row in enumerate(part):
            if not isinstance(row, (tuple, list)) or len(row) not in (2, 3):
                raise InvalidInputError(
                    f"item {start + i}: expected (id, vector[, metadata]), got {type(row).__name__}"
                )
        yield _rows_maker(part, start)
        start += len(part)


def _rows_maker(part: list[Any], start: int) -> Maker:
    def make() -> Piece:
        metadatas = None
        if any(len(row) == 3 for row in part):
            metadatas = [row[2] if len(row) == 3 else None for row in part]
        vectors = as_matrix([row[1] for row in part], "vectors", start)
        return Piece([row[0] for row in part], vectors, metadatas, start)

    return make


def _from_pieces(chunks: Iterator[Any], ahead: bool) -> Iterator[Maker]:
    start = 0
    for number, chunk in enumerate(chunks):
        if not isinstance(chunk, (tuple, list)) or len(chunk) not in (2, 3):
            raise InvalidInputError(
                f"piece {number}: expected (ids, embeddings[, metadatas]), "
                f"got {type(chunk).__name__}"
            )
        ids = as_ids(chunk[0])
        if ahead:
            ids = ids[:]
        yield _chunk_maker(ids, _owned(chunk) if ahead else chunk, start)
        start += len(ids)


def _chunk_maker(ids: list[str] | tuple[str, ...], chunk: Any, start: int) -> Maker:
    def make() -> Piece:
        rows = as_matrix(chunk[1], "embeddings", start)
        metadatas = as_metadatas(chunk[2]) if len(chunk) == 3 else None
        check_lengths(ids, rows, metadatas)
        return Piece(ids, rows, metadatas, start)

    return make


def _owned(chunk: Any) -> Any:
    """Return the piece with vectors and list of metadata that nobody else can change."""
    rows = chunk[1]
    if isinstance(rows, np.ndarray):
        rows = rows.copy()
    else:
        # What cannot be converted is left for the maker to refuse, when it is its turn.
        with contextlib.suppress(Exception):
            converted = as_matrix(rows, "embeddings")
            rows = converted if isinstance(rows, (list, tuple)) else converted.copy()
    metadatas = (list(part) if isinstance(part, list) else part for part in chunk[2:])
    return (chunk[0], rows, *metadatas)
