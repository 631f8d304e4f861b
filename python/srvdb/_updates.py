"""Updates: what ``update`` and ``batch_update`` are given → what the core takes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from srvdb._arrays import FLOAT32, Floats, Metadata, as_vector
from srvdb._filters import Where, as_where, is_filter
from srvdb._moments import Milliseconds, Moment, as_milliseconds, as_new_expiries
from srvdb._verbs import Verbs
from srvdb.errors import DimensionError, InvalidInputError

_FIELDS = ("id", "embedding", "metadata", "expires_at")


class Updates(NamedTuple):
    """What ``batch_update`` was given, as the core takes it."""

    ids: list[str]
    rows: Floats  # the new vectors, shape (m, dimension)
    at: npt.NDArray[np.int64]  # for each id the number of its row, -1 without one
    metadatas: list[Metadata]  # None: unchanged
    expires_at: Milliseconds | None  # in it -1: unchanged

    def part(self, items: npt.NDArray[np.intp]) -> Updates:
        """Return those of them with these numbers."""
        numbers: list[int] = items.tolist()
        at = self.at[items]
        kept = at >= 0
        rows = self.rows[at[kept]]
        at[kept] = np.arange(len(rows))
        return Updates(
            [self.ids[i] for i in numbers],
            rows,
            at,
            [self.metadatas[i] for i in numbers],
            None if self.expires_at is None else self.expires_at[items],
        )


def as_updates(updates: object) -> Updates:
    """Read the argument of ``batch_update``.

    Raises
    ------
    InvalidInputError
        Not an iterable of dicts or tuples, an unknown key, or a value that cannot be read.
    DimensionError
        Vectors of different dimensions.
    """
    if isinstance(updates, (str, bytes, Mapping)) or not isinstance(updates, Iterable):
        raise InvalidInputError(
            "updates must be a list of dicts or of (id, embedding, metadata, expires_at) tuples, "
            f"got one {type(updates).__name__}"
        )
    items = [_fields(update, i) for i, update in enumerate(updates)]
    vectors: list[Floats] = []
    at = np.full(len(items), -1, dtype=np.int64)
    for i, (_, embedding, _, _) in enumerate(items):
        if embedding is None:
            continue
        vector = as_vector(embedding, f"item {i}: embedding")
        if vectors and len(vector) != len(vectors[0]):
            raise DimensionError(
                f"item {i}: expected dimension {len(vectors[0])} as that of the items before, "
                f"got {len(vector)}"
            )
        at[i] = len(vectors)
        vectors.append(vector)
    rows = np.stack(vectors) if vectors else np.empty((0, 0), dtype=FLOAT32)
    expires_at = as_new_expiries([item[3] for item in items])
    return Updates([item[0] for item in items], rows, at, [item[2] for item in items], expires_at)


def _fields(update: object, i: int) -> tuple[Any, Any, Any, Any]:
    if isinstance(update, Mapping):
        for key in update:
            if key not in _FIELDS:
                raise InvalidInputError(
                    f"item {i}: unknown key {key!r}; known are {', '.join(map(repr, _FIELDS))}"
                )
        if "id" not in update:
            raise InvalidInputError(f"item {i}: an update needs an 'id'")
        id, embedding, metadata, expires_at = (update.get(field) for field in _FIELDS)
        return id, embedding, metadata, expires_at
    if not isinstance(update, (tuple, list)) or not 2 <= len(update) <= len(_FIELDS):
        raise InvalidInputError(
            f"item {i}: expected a dict or (id, embedding[, metadata[, expires_at]]), "
            f"got {type(update).__name__} ({update!r})"
        )
    parts = (*update, None, None)
    return parts[0], parts[1], parts[2], parts[3]


class Updating(Verbs):
    """The verbs that change rows which exist."""

    @abstractmethod
    def _update(self, updates: Updates) -> int: ...

    @abstractmethod
    def _update_where(self, where: str, metadata: Metadata, expires_at: int) -> int: ...

    def update(
        self,
        id: str | None = None,
        embedding: npt.ArrayLike | Sequence[float] | None = None,
        metadata: Metadata = None,
        *,
        where: Where | None = None,
        expires_at: Moment = None,
    ) -> int:
        """Change a row that exists, or all that match a filter; what is not given stays as it is.

        The cost does not grow with the database. Without ``embedding`` no vector and no link of the
        graph is written.

        Parameters
        ----------
        id : str, optional
            Which row.
        embedding : array_like, shape (dimension,), optional
            Its new vector.
        metadata : dict or str, optional
            Takes the place of all its metadata; ``{}`` leaves none.
        where : dict, optional
            In the place of ``id``: all rows that match this filter (see ``search``) and are not
            soft-deleted get the metadata, the expiry, or both. Many thousands are changed in
            several steps, each wholly or not at all.
        expires_at : datetime, timedelta, float or NEVER, optional
            When it expires, as for ``add``; :data:`srvdb.NEVER` removes an expiry.

        Returns
        -------
        int
            Rows changed; by id: 1.

        Raises
        ------
        NotFoundError
            The id is unknown, or soft-deleted (``restore`` it first).
        DimensionError, InvalidInputError
            As for ``add``; or nothing is given that is to be changed.

        Examples
        --------
        >>> db.update("a", metadata={"year": 2030})
        1
        >>> db.update("a", [0.2, 1.0])
        1
        >>> db.get("a"), db.search([0.2, 1.0], k=1).ids
        ('{"year": 2030}', ['a'])
        >>> db.update(where={"year": 2025}, metadata={"year": 2026})
        2
        """
        if is_filter("update", id, where):
            if embedding is not None:
                raise InvalidInputError("update with where takes metadata and expires_at only")
            if metadata is None and expires_at is None:
                raise InvalidInputError("expected metadata or expires_at to change, got none")
            moment = -1 if expires_at is None else as_milliseconds(expires_at, "expires_at")
            return self._update_where(as_where(where), metadata, moment)
        return self._update(as_updates([(id, embedding, metadata, expires_at)]))

    def batch_update(self, updates: Iterable[Mapping[str, Any] | Sequence[Any]]) -> int:
        """Change rows that exist, all of them or none.

        Parameters
        ----------
        updates : iterable of dict or tuple
            ``{"id": …, "embedding": …, "metadata": …, "expires_at": …}`` or the same as a tuple in
            this order, shorter where the last ones stay; what is left out or None stays as it is.
            No id twice.

        Returns
        -------
        int
            Rows changed.

        Raises
        ------
        NotFoundError
            Ids that are unknown or soft-deleted; ``.ids`` has all of them.
        DimensionError, InvalidInputError
            As for ``update``.

        Examples
        --------
        >>> db.batch_update([{"id": "a", "metadata": {"n": 1}}, ("b", [1.0, 1.0])])
        2
        >>> try:
        ...     db.batch_update([("a", [1.0, 0.0]), ("x", [1.0, 0.0]), ("y", [1.0, 0.0])])
        ... except srvdb.NotFoundError as error:
        ...     print(error.ids)
        ('x', 'y')
        """
        return self._update(as_updates(updates))
