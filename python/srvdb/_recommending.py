"""Searching from rows that are there: more like these, less like those."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from srvdb._arrays import FLOAT32, MAX_EF, MAX_K, Floats, as_count, as_ids
from srvdb._filters import Where, as_where
from srvdb._grouping import Grouping, as_group_query, best_groups, to_hits
from srvdb.errors import InvalidInputError, NotFoundError
from srvdb.hits import Hits, Record

_LISTED_IDS = 20  # of those that were not found


class Recommending(Grouping):
    """Searches whose query is made of stored rows."""

    @abstractmethod
    def search(self, *args: Any, **kwargs: Any) -> Hits:
        """Search."""

    @abstractmethod
    def get_records(self, *args: Any, **kwargs: Any) -> list[Record | None]:
        """Read rows."""

    @abstractmethod
    def _metric(self) -> str: ...

    def recommend(
        self,
        positive_ids: Sequence[str],
        negative_ids: Sequence[str] = (),
        k: int = 10,
        *,
        where: Where | None = None,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        group_by: str | None = None,
        group_size: int = 1,
    ) -> Hits:
        """Return the k rows that are most like some rows, and unlike others.

        The query is the mean of the positive rows' vectors, moved away from the mean of the
        negative ones by as much as the two differ; under cosine each vector counts by its direction
        alone. The rows that are named are not among the hits.

        Parameters
        ----------
        positive_ids : sequence of str
            Rows to be like; at least one.
        negative_ids : sequence of str, optional
            Rows to be unlike.
        k : int, default 10
            How many hits at most.
        where, ef, recall, exact, include, group_by, group_size
            As for ``search``.

        Returns
        -------
        Hits
            Best first; scores are those of the query that was made.

        Raises
        ------
        NotFoundError
            Ids that are unknown or soft-deleted; ``.ids`` has all of them.
        InvalidInputError
            No positive id.

        Examples
        --------
        >>> db.recommend(["a"]).ids
        ['c', 'b']
        >>> db.recommend(["c"], ["a"], k=1).ids
        ['b']
        """
        positive, negative = list(as_ids(positive_ids)), list(as_ids(negative_ids))
        if not positive:
            raise InvalidInputError("recommend needs at least one id in positive_ids")
        named = list(dict.fromkeys([*positive, *negative]))
        vectors = _vectors(named, self.get_records(named, include="embedding"))
        query = _query(
            [vectors[id] for id in positive], [vectors[id] for id in negative], self._metric()
        )
        text = None if where is None else as_where(where)
        k = as_count(k, "k", 1, MAX_K, clip=True)
        # Those that are named may be found, so as many more hits are asked for.
        others = set(named)
        wide = min(k + len(others), MAX_K)
        if ef is not None:
            ef = min(as_count(ef, "ef", 1, MAX_EF) + len(others), MAX_EF)
        if group_by is None:
            hits = self.search(
                query, wide, where=text, ef=ef, recall=recall, exact=exact, include=include
            )
            return Hits([hit for hit in hits if hit[0] not in others][:k])
        asked = as_group_query(
            query[None], wide, text, ef, recall, exact, include, False, 1, group_by, group_size
        )
        more = replace(asked, size=min(asked.size + len(others), MAX_K))
        found = [one for one in self._search_groups(more)[0] if one[0][0] not in others]
        return to_hits(best_groups(found, k, asked.size))


def _vectors(ids: list[str], records: list[Record | None]) -> dict[str, Floats]:
    missing = [id for id, record in zip(ids, records, strict=True) if record is None]
    if missing:
        shown = ", ".join(map(repr, missing[:_LISTED_IDS]))
        error = NotFoundError(
            f"{len(missing)} {'id' if len(missing) == 1 else 'ids'} not found: {shown}"
            + (", …" if len(missing) > _LISTED_IDS else "")
        )
        error.ids = tuple(missing)
        raise error
    return {
        record.id: record.embedding for record in records if record and record.embedding is not None
    }


def _query(positive: list[Floats], negative: list[Floats], metric: str) -> Floats:
    middle = _mean(positive, metric)
    if negative:
        middle += middle - _mean(negative, metric)
    query: Floats = middle.astype(FLOAT32)
    return query


def _mean(vectors: list[Floats], metric: str) -> Any:
    rows = np.array(vectors, dtype=np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
    return rows.mean(axis=0)
