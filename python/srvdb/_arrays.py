"""What callers pass → what the core takes: float32 C-contiguous arrays, lists of ids and metadata.

An array that is float32 and C-contiguous is handed on as it is, without a copy. Everything else is
converted once. Errors name the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from srvdb.errors import DimensionError, InvalidInputError

Floats: TypeAlias = npt.NDArray[np.float32]
Metadata: TypeAlias = dict[str, Any] | str | None

FLOAT32 = np.dtype(np.float32)
_ndarray = np.ndarray

#: Where a longer number of neighbours is cut; no database has as many rows.
MAX_K = 2**32 - 1
MAX_EF = 1_000_000
MAX_THREADS = 4096


def as_matrix(vectors: object, name: str, first: int = 0) -> Floats:
    """Return vectors as a float32 C-contiguous array of shape ``(n, dimension)``.

    Parameters
    ----------
    vectors : array_like
        Any float or integer dtype and memory order, or nested lists; shape ``(n, dimension)``.
    name : str
        What messages call it.
    first : int
        Number of the first item in messages.

    Raises
    ------
    InvalidInputError
        Not numbers, or not two-dimensional.
    DimensionError
        Items of different lengths.
    """
    if (
        type(vectors) is _ndarray
        and vectors.dtype is FLOAT32
        and vectors.ndim == 2
        and vectors.flags.c_contiguous
    ):
        return vectors
    array = _to_array(vectors, name, first)
    if array.size == 0 and array.ndim < 2 and len(array) == 0:
        return np.empty((0, 0), dtype=FLOAT32)
    if array.dtype.kind not in "fiu":
        raise _not_numbers(vectors, array, name, first)
    if array.ndim != 2:
        raise InvalidInputError(
            f"{name} must have two dimensions, (n, dimension); got shape {array.shape}"
            + ("; one vector goes in as [vector]" if array.ndim == 1 else "")
        )
    return _to_float32(array)


def as_vector(query: object, name: str = "query") -> Floats:
    """Return one vector as a float32 contiguous array of shape ``(dimension,)``.

    Raises
    ------
    InvalidInputError
        Not numbers, or not one-dimensional.
    """
    if (
        type(query) is _ndarray
        and query.dtype is FLOAT32
        and query.ndim == 1
        and query.flags.c_contiguous
    ):
        return query
    array = _to_array(query, name)
    if array.size and array.dtype.kind not in "fiu":
        raise InvalidInputError(f"{name} must be numbers, got dtype {array.dtype}")
    if array.ndim != 1:
        hint = "; search_batch takes several queries" if array.ndim == 2 else ""
        raise InvalidInputError(f"{name} must have one dimension, got shape {array.shape}{hint}")
    return _to_float32(array)


def as_ids(ids: object, name: str = "ids") -> list[str] | tuple[str, ...]:
    """Return ids as a list or tuple; the elements are checked when they are read.

    Raises
    ------
    InvalidInputError
        One str instead of a list, a dict, or something that cannot be iterated over.
    """
    if type(ids) is list or type(ids) is tuple:
        return ids
    if isinstance(ids, (str, bytes)):
        raise InvalidInputError(
            f"{name} must be a list of str, got one {type(ids).__name__}; write [{ids!r}]"
        )
    if isinstance(ids, np.ndarray):
        return [*ids.tolist()]
    if isinstance(ids, Mapping):
        raise InvalidInputError(
            f"{name} must be a list of str, got {type(ids).__name__}; a filter goes to where="
        )
    if isinstance(ids, Iterable):
        return list(ids)
    raise InvalidInputError(f"{name} must be a list of str, got {type(ids).__name__}")


def as_metadatas(metadatas: object) -> list[Metadata] | tuple[Metadata, ...] | None:
    """Return metadata as a list or tuple, or None when there is none.

    Raises
    ------
    InvalidInputError
        One dict or str instead of a list.
    """
    if metadatas is None or type(metadatas) is list or type(metadatas) is tuple:
        return metadatas
    if isinstance(metadatas, (str, bytes, dict)) or not isinstance(metadatas, Iterable):
        raise InvalidInputError(
            "metadatas must be a list with a dict, JSON text or None for each id, got one "
            f"{type(metadatas).__name__}"
        )
    return list(metadatas)


def check_lengths(ids: Sequence[str], rows: Floats, metadatas: Sequence[Metadata] | None) -> None:
    """Raise InvalidInputError unless there is one vector (and metadata) for each id."""
    if len(rows) == len(ids) and (metadatas is None or len(metadatas) == len(ids)):
        return
    if metadatas is None:
        raise InvalidInputError(
            f"ids and embeddings must have the same length, got {len(ids)} and {len(rows)}"
        )
    raise InvalidInputError(
        "ids, embeddings and metadatas must have the same length, got "
        f"{len(ids)}, {len(rows)} and {len(metadatas)}"
    )


def as_count(value: object, name: str, low: int, high: int, *, clip: bool = False) -> int:
    """Return an integer argument that lies in ``low..high``.

    With ``clip`` a larger one counts as ``high``.

    Raises
    ------
    InvalidInputError
        Not an integer, or out of range.
    """
    if type(value) is int and low <= value <= high:
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidInputError(
            f"{name} must be an integer, got {type(value).__name__} ({value!r})"
        ) from None
    if number < low or (number > high and not clip):
        limit = f"at least {low:,}" if clip else f"from {low:,} to {high:,}"
        raise InvalidInputError(f"{name} must be {limit}, got {number}")
    return min(number, high)


def as_recall(value: object, name: str = "recall") -> float:
    """Return a share above 0 and up to 1.

    Raises
    ------
    InvalidInputError
        Not a number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise InvalidInputError(f"{name} must be a number, got {type(value).__name__} ({value!r})")
    if not 0 < value <= 1:
        raise InvalidInputError(f"{name} must be above 0 and at most 1, got {value!r}")
    return float(value)


def _to_array(values: object, name: str, first: int = 0) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Iterable) and not hasattr(values, "__len__"):
        values = list(values)
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        raise _ragged(values, name, first) from None
    except (TypeError, OverflowError) as error:
        raise InvalidInputError(f"{name} cannot be read as numbers: {error}") from None


def _to_float32(array: npt.NDArray[Any]) -> Floats:
    # What is too large for float32 becomes infinity, which the core refuses with the item's number.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype=FLOAT32)


def _ragged(values: object, name: str, first: int) -> Exception:
    lengths: list[int] = []
    items: Iterable[Any] = values  # type: ignore[assignment]
    for i, item in enumerate(items):
        try:
            lengths.append(len(item))
        except TypeError:
            return InvalidInputError(
                f"item {first + i}: expected a vector, got {type(item).__name__} ({item!r})"
            )
        if lengths[i] != lengths[0]:
            return DimensionError(
                f"item {first + i}: expected dimension {lengths[0]} as that of item {first}, "
                f"got {lengths[i]}"
            )
    return InvalidInputError(f"{name} must be an array of numbers")


def _not_numbers(values: object, array: npt.NDArray[Any], name: str, first: int) -> Exception:
    """Find the first item that is not a vector of numbers."""
    if array.dtype.kind in "OUS" and array.ndim >= 1:
        items: Iterable[Any] = values  # type: ignore[assignment]
        for i, item in enumerate(items):
            for part in np.asarray(item, dtype=object).ravel():
                if isinstance(part, (bool, str, bytes)) or not isinstance(
                    part, (int, float, np.integer, np.floating)
                ):
                    return InvalidInputError(
                        f"item {first + i}: expected numbers, got {type(part).__name__} ({part!r})"
                    )
    return InvalidInputError(f"{name} must have a float or integer dtype, got {array.dtype}")
