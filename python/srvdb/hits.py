"""What reading returns: hits, records, values with counts, entries of the change log."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from srvdb._moments import expiry_to_datetime, to_datetime
from srvdb._native import Hit, hit_ids
from srvdb.errors import InvalidInputError, SrvDBError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Explanation", "FacetValue", "Hit", "Hits", "LogEntry", "Record"]

_LONGEST_CELL = 160


class Hits(list[Hit]):
    """The answer to one query: a list of :class:`Hit`, best first, equal scores in id order.

    Shown as a table in Jupyter.

    Examples
    --------
    >>> hits = db.search([1.0, 0.0], k=2)
    >>> [(id, round(score, 3)) for id, score in hits]
    [('a', 1.0), ('c', 0.707)]
    >>> hits[0].metadata
    {'year': 2024}
    >>> hits.ids
    ['a', 'c']
    """

    __slots__ = ()

    @property
    def ids(self) -> list[str]:
        """The ids, best first."""
        return hit_ids(self)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The scores, best first, float64, shape ``(k,)``; higher is better."""
        return np.array([hit[1] for hit in self], dtype=np.float64)

    def to_pandas(self, *, metadata: bool = True) -> pd.DataFrame:
        """Return a table with a row for each hit, best first.

        Parameters
        ----------
        metadata : bool, default True
            Whether to add a column for each metadata field; one that is called like a column of the
            hit itself becomes ``metadata.<name>``.

        Returns
        -------
        pandas.DataFrame
            Columns ``id``, ``score``, ``distance``, then the metadata.

        Raises
        ------
        ImportError
            pandas is not installed.

        Examples
        --------
        >>> print(db.search([1.0, 0.0], k=2).to_pandas()[["id", "year"]].to_string())
          id  year
        0  a  2024
        1  c  2025
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("Hits.to_pandas() needs pandas: pip install pandas") from None
        rows = []
        for hit in self:
            row: dict[str, Any] = {"id": hit.id, "score": hit.score, "distance": hit.distance}
            for key, value in (hit.metadata or {}).items() if metadata else ():
                row[f"metadata.{key}" if key in ("id", "score", "distance") else key] = value
            rows.append(row)
        return pd.DataFrame(rows, columns=None if rows else ["id", "score", "distance"])

    def _repr_html_(self) -> str:
        rows = []
        for rank, hit in enumerate(self, start=1):
            try:
                metadata = json.dumps(hit.metadata, ensure_ascii=False)
            except SrvDBError:  # the database is closed
                metadata = ""
            if len(metadata) > _LONGEST_CELL:
                metadata = metadata[: _LONGEST_CELL - 1] + "…"
            rows.append((str(rank), hit.id, f"{hit.score:.6g}", metadata))
        return to_html(("", "id", "score", "metadata"), rows)


class Record(NamedTuple):
    """One stored row, as ``get_records`` and ``scroll`` give it.

    Attributes
    ----------
    id : str
        Its id.
    metadata : dict or None
        Its metadata; None when not asked for.
    embedding : numpy.ndarray or None
        Its vector, float32, shape ``(dimension,)``; None when not asked for.
    expires_at : datetime or None
        When it expires, in UTC; None for never.
    deleted : bool
        Whether it is soft-deleted; only ``include_deleted`` shows such rows.
    """

    id: str
    metadata: dict[str, Any] | None = None
    embedding: npt.NDArray[np.float32] | None = None
    expires_at: datetime | None = None
    deleted: bool = False


class FacetValue(NamedTuple):
    """A value that rows have in a metadata field, as ``facet`` gives it.

    Attributes
    ----------
    value : str, int, float, bool or None
        The value.
    count : int
        How many rows have it.
    """

    value: str | int | float | bool | None
    count: int  # type: ignore[assignment]  # a tuple's method is called so


@dataclasses.dataclass(frozen=True)
class LogEntry:
    """One entry of the change log.

    Attributes
    ----------
    sequence : int
        Its number; grows with every change, is never used twice.
    time : datetime
        When it was made, in UTC.
    operation : str
        What was done: ``"add"``, ``"upsert"``, ``"update"``, ``"delete"``, ``"soft_delete"``,
        ``"restore"``, ``"compact"``, ``"trim_change_log"``, ``"create_snapshot"``,
        ``"drop_snapshot"`` or ``"restore_snapshot"``.
    ids : tuple of str
        The rows it was done to.
    details : dict or None
        More about it; never vectors.
    shard : int or None
        The number of the shard, whose own ``sequence`` this is; None in a single database.
    """

    sequence: int
    time: datetime
    operation: str
    ids: tuple[str, ...] = ()
    details: dict[str, Any] | None = None
    shard: int | None = None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How a filter is answered, as ``explain`` gives it.

    Attributes
    ----------
    path : str
        What is looked at: ``"columns"`` (or ids) alone, ``"documents"`` (the metadata of every
        row), or ``"columns, then documents"`` of the rows that the columns leave in doubt.
    fields : dict of str to bool
        The fields that the filter asks for, and whether each has a column. Those without are found
        by reading metadata; see ``indexed_fields``.
    rows : int
        Rows of the database.
    documents : int
        Rows whose metadata have to be read.
    matching : int
        Rows that match; an estimate unless ``exact``.
    exact : bool
        Whether ``matching`` is more than an estimate.
    cached : bool
        Whether the rows that match are known from an earlier call, so that nothing is looked at;
        the rest says what was looked at then.
    """

    path: str
    fields: dict[str, bool]
    rows: int
    documents: int
    matching: int
    exact: bool
    cached: bool

    @property
    def selectivity(self) -> float:
        """The share of the rows that match, 0 to 1."""
        return self.matching / self.rows if self.rows else 0.0


def to_explanation(
    parts: Iterable[tuple[list[tuple[str, bool]], int, int, int, bool, bool]],
) -> Explanation:
    """Make an Explanation of what one core or several returned."""
    fields: dict[str, bool] = {}
    rows = documents = matching = 0
    exact = cached = True
    for names, all_rows, read, found, is_exact, is_cached in parts:
        for name, indexed in names:
            fields[name] = fields.get(name, True) and indexed
        rows, documents, matching = rows + all_rows, documents + read, matching + found
        exact, cached = exact and is_exact, cached and is_cached
    path = "columns, then documents" if documents < rows else "documents"
    path = path if documents else "columns"
    return Explanation(path, fields, rows, documents, matching, exact, cached)


def value_order(value: str | int | float | bool | None) -> tuple[int, Any]:
    """Return what sorts the values of a facet: null, booleans, numbers, strings."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    return (3, value) if isinstance(value, str) else (2, value)


def to_record(
    parts: tuple[str, str | None, npt.NDArray[np.float32] | None, int, bool], with_metadata: bool
) -> Record:
    """Make a Record of what the core returned."""
    id, text, embedding, expires_at, deleted = parts
    metadata = json.loads(text) if with_metadata and text else None
    return Record(id, metadata, embedding, expiry_to_datetime(expires_at), deleted)


def to_log_entry(parts: tuple[int, int, str, tuple[str, ...], str]) -> LogEntry:
    """Make a LogEntry of what the core returned."""
    sequence, time_us, operation, ids, details = parts
    text = json.loads(details) if details else None
    return LogEntry(sequence, to_datetime(time_us), operation, ids, text)


def as_include(include: Iterable[str]) -> tuple[bool, bool]:
    """Return whether metadata and embedding were asked for.

    Raises
    ------
    InvalidInputError
        A name other than these two.
    """
    if include == ():
        return False, False
    names = (include,) if isinstance(include, str) else tuple(include)
    for name in names:
        if name not in ("metadata", "embedding"):
            raise InvalidInputError(f'include takes "metadata" and "embedding", got {name!r}')
    return "metadata" in names, "embedding" in names


def to_html(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a plain HTML table with everything escaped."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
