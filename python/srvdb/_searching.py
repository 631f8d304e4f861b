"""The searching part of :class:`Database`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from srvdb._arrays import (
    MAX_EF,
    MAX_K,
    MAX_THREADS,
    as_count,
    as_matrix,
    as_recall,
    as_vector,
)
from srvdb._filters import Where, as_where, as_wheres
from srvdb._grouping import Grouped, GroupQuery, as_group_query, to_hits
from srvdb._native import StopFlag
from srvdb._reading import Reading
from srvdb._recommending import Recommending
from srvdb.errors import FilterError
from srvdb.hits import Hits, as_include


class Searching(Reading, Recommending):
    """Methods that find what is near."""

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
        """Return the k nearest rows, best first.

        Parameters
        ----------
        query : array_like, shape (dimension,)
            The vector to compare with.
        k : int, default 10
            How many hits at most; fewer when fewer rows exist, or match.
        where : dict, optional
            Only rows whose metadata match this filter, such as ``{"year": {"$gte": 2020}}``. The
            rows are known before the search begins, so there are k hits when k rows match.
        ef : int, optional
            Width of a graph search, 1 to 1,000,000: about how many rows' neighbours are looked at,
            fewer for easy queries, up to twice as many for hard ones. More finds more and takes
            longer; below ``k`` it finds noticeably less. By default what the database was opened
            with, or ``k`` where that is more.
        recall : float, optional
            In the place of ``ef``: the mean share of the k best rows that is to be found, above 0
            and up to 1. The width that this takes is measured on this database, in the
            background and by ``optimize()``, with its rows and with the queries that were asked
            lately; ``stats()["calibration"]`` shows it. 1 compares with every row, and so does
            what no width reaches.
        exact : bool, default False
            Compare with every row, whatever the mode.
        include : iterable of {"metadata", "embedding"}, optional
            What to read together with the hits; else it is read on first use.
        include_deleted : bool, default False
            Whether soft-deleted rows take part.
        group_by : str, optional
            The best of each group of rows: those with the same value in this metadata field. There
            are k groups at most, those with the best rows, each with its ``group_size`` best rows;
            all hits come best first. A row is in no group, and not found, when the field is
            missing, has several values, or holds an array or an object.
        group_size : int, default 1
            Hits of a group at most.

        Returns
        -------
        Hits
            Tuples ``(id, score)`` that know more; a higher score is better.

        Raises
        ------
        DimensionError
            A query of another dimension.
        InvalidInputError
            ``k`` below 1, NaN or infinity in the query, an unknown name in ``include``, ``ef`` and
            ``recall`` both.
        FilterError
            A filter that cannot be read; the message has the path inside of it.

        Examples
        --------
        >>> for id, score in db.search([0.0, 1.0], k=2):
        ...     print(id, round(score, 3))
        b 1.0
        c 0.707
        >>> db.search([0.0, 1.0], k=2, where={"year": {"$in": [2023, 2024]}}).ids
        ['a']
        >>> db.search([0.0, 1.0], group_by="year").ids
        ['b', 'a']
        """
        if group_by is not None:
            asked = as_group_query(
                as_vector(query)[None],
                k,
                None if where is None else as_where(where),
                ef,
                recall,
                exact,
                include,
                include_deleted,
                1,
                group_by,
                group_size,
            )
            return to_hits(self._search_groups(asked)[0])
        metadata, embedding = as_include(include)
        k = as_count(k, "k", 1, MAX_K, clip=True)
        width = 0 if ef is None else as_count(ef, "ef", 1, MAX_EF)
        share = 0.0 if recall is None else as_recall(recall)
        vector, deleted = as_vector(query), bool(include_deleted)
        text = "" if where is None else as_where(where)
        return Hits(
            self._core.search(
                vector, k, width, bool(exact), metadata, embedding, deleted, share, text
            )
        )

    def _metric(self) -> str:
        return self._core.metric()

    def _search_groups(self, asked: GroupQuery) -> list[list[Grouped]]:
        try:
            lists = self._core.search_groups(
                asked.queries,
                asked.k,
                asked.ef,
                asked.exact,
                asked.metadata,
                asked.embedding,
                asked.threads,
                asked.stop,
                asked.include_deleted,
                asked.recall,
                asked.where,
                asked.wheres,
                asked.field,
                asked.size,
                asked.among,
            )
        except FilterError:
            self._name_refused(asked.wheres)
            raise
        return [list(zip(hits, groups, strict=True)) for hits, groups in lists]

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
        """Search for many queries at once.

        Parameters
        ----------
        queries : array_like, shape (n_queries, dimension)
            The vectors to compare with.
        where : dict or list of dict, optional
            One filter for all queries, or a list with one (or None) for each.
        k, ef, recall, exact, include, include_deleted, group_by, group_size
            As for ``search``.
        threads : int, default 1
            Threads to use; 0 for all processors.

        Returns
        -------
        list of Hits
            One for each query, in order; all of one moment, but with ``group_by``.

        Examples
        --------
        >>> [hits.ids for hits in db.search_batch([[1, 0], [0, 1]], k=1)]
        [['a'], ['b']]
        >>> filters = [{"year": 2025}, None]
        >>> [hits.ids for hits in db.search_batch([[1, 0], [0, 1]], k=1, where=filters)]
        [['c'], ['b']]
        >>> [hits.ids for hits in db.search_batch([[1, 0], [0, 1]], group_by="year")]
        [['a', 'c'], ['b', 'a']]
        """
        if group_by is not None:
            rows = as_matrix(queries, "queries")
            asked = as_group_query(
                rows,
                k,
                where,
                ef,
                recall,
                exact,
                include,
                include_deleted,
                threads,
                group_by,
                group_size,
            )
            return [to_hits(found) for found in self._search_groups(asked)]
        return self._search_batch(
            queries, k, where, ef, recall, exact, include, include_deleted, threads, None
        )

    def _search_batch(
        self,
        queries: Any,
        k: int,
        where: object,
        ef: int | None,
        recall: float | None,
        exact: bool,
        include: Iterable[str],
        include_deleted: bool,
        threads: int,
        stop: StopFlag | None,
    ) -> list[Hits]:
        metadata, embedding = as_include(include)
        rows = as_matrix(queries, "queries")
        text, texts = as_wheres(where, len(rows))
        try:
            lists = self._core.search_batch(
                rows,
                as_count(k, "k", 1, MAX_K, clip=True),
                0 if ef is None else as_count(ef, "ef", 1, MAX_EF),
                bool(exact),
                metadata,
                embedding,
                as_count(threads, "threads", 0, MAX_THREADS),
                stop,
                bool(include_deleted),
                0.0 if recall is None else as_recall(recall),
                text,
                texts,
            )
        except FilterError:
            self._name_refused(texts)
            raise
        return [Hits(hits) for hits in lists]

    def _name_refused(self, texts: list[str]) -> None:
        """Raise what is wrong with one of several filters, with its number."""
        for i, text in enumerate(texts):
            try:
                self._core.count(text)
            except FilterError as error:
                raise FilterError(f"where[{i}]: {error}") from None
