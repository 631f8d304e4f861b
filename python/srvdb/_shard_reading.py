"""The reading half of :class:`ShardedDatabase`: all shards are asked, the answers merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from srvdb._arrays import MAX_K, as_count, as_ids, as_matrix, as_vector
from srvdb._filters import Where, as_where
from srvdb._grouping import (
    Grouped,
    GroupQuery,
    as_group_query,
    best_groups,
    groups_of,
    to_hits,
)
from srvdb._native import StopFlag
from srvdb._recommending import Recommending
from srvdb._shard_set import ShardSet
from srvdb.database import Database
from srvdb.hits import (
    Explanation,
    FacetValue,
    Hits,
    Record,
    to_explanation,
    value_order,
)


class ShardedReading(ShardSet, Recommending):
    """Searching, and reading by id and by filter."""

    def search(
        self,
        query: npt.ArrayLike | Sequence[float],
        k: int = 10,
        *,
        where: Where | None = None,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        include_deleted: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
    ) -> Hits:
        """Return the k nearest rows of all shards, best first; see :meth:`Database.search`."""
        vector = as_vector(query)
        names = tuple([include] if isinstance(include, str) else include)
        deleted, text = include_deleted, as_where(where) or None
        if group_by is not None:
            asked = as_group_query(
                vector[None],
                k,
                text,
                ef,
                recall,
                exact,
                names,
                deleted,
                1,
                group_by,
                group_size,
            )
            return to_hits(self._search_groups(asked)[0])
        answers = self._each(
            lambda shard, n: shard.search(
                vector,
                k,
                where=text,
                ef=ef,
                recall=recall,
                exact=exact,
                include=names,
                include_deleted=deleted,
            )
        )
        return _merge(answers, k)

    def search_batch(
        self,
        queries: npt.ArrayLike | Sequence[Sequence[float]],
        k: int = 10,
        *,
        where: Where | Sequence[Where | None] | None = None,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        include_deleted: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        threads: int = 1,
    ) -> list[Hits]:
        """Search for many queries at once; see :meth:`Database.search_batch`.

        ``threads`` counts for each shard.
        """
        rows = as_matrix(queries, "queries")
        names = tuple([include] if isinstance(include, str) else include)
        if group_by is not None:
            asked = as_group_query(
                rows,
                k,
                where,
                ef,
                recall,
                exact,
                names,
                include_deleted,
                threads,
                group_by,
                group_size,
            )
            return [to_hits(found) for found in self._search_groups(asked)]
        # One shard is searched by this thread, which listens to Ctrl-C itself.
        stop = StopFlag() if len(self._shards) > 1 else None
        answers = self._each(
            lambda shard, n: shard._search_batch(
                rows, k, where, ef, recall, exact, names, include_deleted, threads, stop
            ),
            stop,
        )
        return [_merge(lists, k) for lists in zip(*answers, strict=True)]

    def _search_groups(self, asked: GroupQuery) -> list[list[Grouped]]:
        stop = StopFlag() if len(self._shards) > 1 else None

        def best(asked: GroupQuery) -> list[list[Grouped]]:
            answers = self._each(lambda shard, n: shard._search_groups(asked), stop)
            return [
                best_groups((one for part in parts for one in part), asked.k, asked.size)
                for parts in zip(*answers, strict=True)
            ]

        found = best(replace(asked, stop=stop))
        if asked.size > 1:  # a shard's rows may all come behind k groups of its own
            among = tuple(groups_of(one) for one in found)
            found = best(replace(asked, stop=stop, among=among))
        return found

    # ---- read ------------------------------------------------------------------------------------

    def get(self, id: str) -> str | None:
        """Return a row's metadata as JSON text; see :meth:`Database.get`."""
        return self._home(id).get(id)

    def get_records(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        include: Iterable[str] = ("metadata",),
        include_deleted: bool = False,
    ) -> list[Record | None]:
        """Return rows by id or by filter; see :meth:`Database.get_records`."""
        names = tuple([include] if isinstance(include, str) else include)
        deleted, text = include_deleted, as_where(where) or None

        def read(shard: Database, part: list[str] | None) -> list[Record | None]:
            return shard.get_records(part, where=text, include=names, include_deleted=deleted)

        if ids is None:
            pages = self._each(lambda shard, n: read(shard, None))
            return [*sorted((record for page in pages for record in page if record), key=_first)]
        ids = as_ids(ids)
        parts = self._split(ids)
        found = self._each(lambda shard, n: read(shard, parts[n]) if parts[n] else [])
        queues = [iter(records) for records in found]
        return [next(queues[self.shard_of(id)]) for id in ids]

    def scroll(
        self,
        *,
        where: Where | None = None,
        limit: int = 100,
        after: str | None = None,
        include: Iterable[str] = ("metadata",),
    ) -> list[Record]:
        """Return rows in id order, page by page; see :meth:`Database.scroll`."""
        names = tuple([include] if isinstance(include, str) else include)
        text = as_where(where) or None
        pages = self._each(
            lambda shard, n: shard.scroll(where=text, limit=limit, after=after, include=names)
        )
        return sorted((record for page in pages for record in page), key=_first)[:limit]

    def count(self, where: Where | None = None) -> int:
        """Return the number of rows in all shards; see :meth:`Database.count`."""
        if where is None:
            return sum(shard.count() for shard in self._shards)
        text = as_where(where)
        return sum(self._each(lambda shard, n: shard.count(text)))

    def facet(
        self, field: str, where: Where | None = None, *, limit: int | None = 100
    ) -> list[FacetValue]:
        """Return the values of a field, with the rows of all shards; see :meth:`Database.facet`."""
        text = as_where(where) or None
        most = None if limit is None else as_count(limit, "limit", 1, MAX_K, clip=True)
        counts: dict[tuple[bool, Any], int] = {}  # True == 1 in Python, but not here
        for facet in self._each(lambda shard, n: shard.facet(field, text, limit=None)):
            for value, count in facet:
                key = isinstance(value, bool), value
                counts[key] = counts.get(key, 0) + count
        found = [FacetValue(key[1], count) for key, count in counts.items()]
        return sorted(found, key=lambda one: (-one.count, value_order(one.value)))[:most]

    def explain(self, where: Where) -> Explanation:
        """Return how a filter is answered in all shards; see :meth:`Database.explain`."""
        text = as_where(where)
        return to_explanation(self._each(lambda shard, n: shard._core.explain(text)))

    def _metric(self) -> str:
        return self._shards[0]._metric()

    def contains(self, id: str) -> bool:
        """Return whether a row with this id exists; ``id in db`` is the same."""
        return self._home(id).contains(id)

    def _page_of_ids(self, after: str, limit: int) -> list[str]:
        pages = self._each(lambda shard, n: shard._page_of_ids(after, limit))
        return sorted(id for page in pages for id in page)[:limit]


def _first(record: Record) -> str:
    return record.id


def _merge(answers: Iterable[Hits], k: int) -> Hits:
    return Hits(
        sorted((hit for hits in answers for hit in hits), key=lambda hit: (-hit[1], hit[0]))[:k]
    )
