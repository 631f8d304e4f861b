"""The reading half of :class:`Database`: searching, and reading by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy.typing as npt

from srvdb._arrays import MAX_K, as_count, as_ids, as_matrix, as_recall, as_vector
from srvdb._native import CoreDatabase, StopFlag, __version__
from srvdb._verbs import Verbs
from srvdb.config import Settings
from srvdb.hits import Hits, Record, as_include, to_record

MAX_EF = 1_000_000
MAX_THREADS = 4096


class Searching(Verbs):
    """Methods that change nothing."""

    _core: CoreDatabase
    settings: Settings

    # ---- search ----------------------------------------------------------------------------------

    def search(
        self,
        query: npt.ArrayLike | Sequence[float],
        k: int = 10,
        *,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        include_deleted: bool = False,
    ) -> Hits:
        """Return the k nearest rows, best first.

        Parameters
        ----------
        query : array_like, shape (dimension,)
            The vector to compare with.
        k : int, default 10
            How many hits at most; fewer when fewer rows exist.
        ef : int, optional
            Candidates of a graph search, 1 to 1,000,000: more finds more and takes longer.
        recall : float, optional
            In the place of ``ef``: the mean share of the k best rows that is to be found, above 0
            and up to 1. How many candidates that takes is measured on this database, in the
            background and by ``optimize()``, with its rows and with the queries that were asked
            lately; ``stats()["calibration"]`` shows it. 1 compares with every row, and so does
            what no number of candidates reaches.
        exact : bool, default False
            Compare with every row, whatever the mode.
        include : iterable of {"metadata", "embedding"}, optional
            What to read together with the hits; else it is read on first use.
        include_deleted : bool, default False
            Whether soft-deleted rows take part.

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

        Examples
        --------
        >>> for id, score in db.search([0.0, 1.0], k=2):
        ...     print(id, round(score, 3))
        b 1.0
        c 0.707
        """
        metadata, embedding = as_include(include)
        if type(k) is not int or not 0 < k <= MAX_K:
            k = as_count(k, "k", 1, MAX_K, clip=True)
        width = 0 if ef is None else as_count(ef, "ef", 1, MAX_EF)
        share = 0.0 if recall is None else as_recall(recall)
        vector, deleted = as_vector(query), bool(include_deleted)
        return Hits(
            self._core.search(vector, k, width, bool(exact), metadata, embedding, deleted, share)
        )

    def search_batch(
        self,
        queries: npt.ArrayLike | Sequence[Sequence[float]],
        k: int = 10,
        *,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        include_deleted: bool = False,
        threads: int = 1,
    ) -> list[Hits]:
        """Search for many queries at once.

        Parameters
        ----------
        queries : array_like, shape (n_queries, dimension)
            The vectors to compare with.
        k, ef, recall, exact, include, include_deleted
            As for ``search``.
        threads : int, default 1
            Threads to use; 0 for all processors.

        Returns
        -------
        list of Hits
            One for each query, in order.

        Examples
        --------
        >>> [hits.ids for hits in db.search_batch([[1, 0], [0, 1]], k=1)]
        [['a'], ['b']]
        """
        return self._search_batch(
            queries, k, ef, recall, exact, include, include_deleted, threads, None
        )

    def _search_batch(
        self,
        queries: Any,
        k: int,
        ef: int | None,
        recall: float | None,
        exact: bool,
        include: Iterable[str],
        include_deleted: bool,
        threads: int,
        stop: StopFlag | None,
    ) -> list[Hits]:
        metadata, embedding = as_include(include)
        lists = self._core.search_batch(
            as_matrix(queries, "queries"),
            as_count(k, "k", 1, MAX_K, clip=True),
            0 if ef is None else as_count(ef, "ef", 1, MAX_EF),
            bool(exact),
            metadata,
            embedding,
            as_count(threads, "threads", 0, MAX_THREADS),
            stop,
            bool(include_deleted),
            0.0 if recall is None else as_recall(recall),
        )
        return [Hits(hits) for hits in lists]

    # ---- read ------------------------------------------------------------------------------------

    def get(self, id: str) -> str | None:
        """Return a row's metadata as JSON text, ``"{}"`` when it has none, None when it is unknown.

        Text that was given as text comes back as it was given.

        Examples
        --------
        >>> db.get("a"), db.get("nobody")
        ('{"year": 2024}', None)
        """
        return self._core.metadata(id)

    def get_records(
        self,
        ids: Sequence[str],
        *,
        include: Iterable[str] = ("metadata",),
        include_deleted: bool = False,
    ) -> list[Record | None]:
        """Return the rows with these ids, None for an unknown one.

        Parameters
        ----------
        ids : sequence of str
            Which rows.
        include : iterable of {"metadata", "embedding"}, default ("metadata",)
            What to read of each.
        include_deleted : bool, default False
            Whether soft-deleted rows are found.

        Examples
        --------
        >>> record, nobody = db.get_records(["a", "nobody"], include=("metadata", "embedding"))
        >>> record.id, record.metadata, record.embedding, record.expires_at, record.deleted
        ('a', {'year': 2024}, array([1., 0.], dtype=float32), None, False)
        >>> print(nobody)
        None
        """
        metadata, embedding = as_include(include)
        found = self._core.records(as_ids(ids), embedding, bool(include_deleted))
        return [None if parts is None else to_record(parts, metadata) for parts in found]

    def scroll(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        include: Iterable[str] = ("metadata",),
    ) -> list[Record]:
        """Return rows in id order, page by page.

        Parameters
        ----------
        limit : int, default 100
            Rows of a page at most.
        after : str, optional
            Id of the last row of the page before; it need not exist.
        include : iterable of {"metadata", "embedding"}, default ("metadata",)
            What to read of each.

        Examples
        --------
        >>> [record.id for record in db.scroll(limit=2)]
        ['a', 'b']
        >>> [record.id for record in db.scroll(limit=2, after="b")]
        ['c']
        """
        metadata, embedding = as_include(include)
        limit = as_count(limit, "limit", 1, MAX_K, clip=True)
        page = self._core.scroll("" if after is None else after, limit, metadata, embedding)
        return [to_record(parts, metadata) for parts in page]

    def count(self) -> int:
        """Return the number of rows; ``len(db)`` is the same.

        Examples
        --------
        >>> db.count(), len(db), "a" in db
        (3, 3, True)
        """
        return self._core.count()

    def contains(self, id: str) -> bool:
        """Return whether a row with this id exists; ``id in db`` is the same."""
        return self._core.contains(id)

    def _page_of_ids(self, after: str, limit: int) -> list[str]:
        return self._core.scroll_ids(after, limit)

    # ---- look ------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return what the database is, how far its index is, and what settings are in force.

        Returns
        -------
        dict
            ``dimension`` (None before the first batch), ``metric``, ``mode``, ``searching`` (what a
            search does now), ``count``, ``soft_deleted``, ``gone`` (rows that only take up room,
            until compaction) and ``deleted_share`` (of these among all rows), ``linked_rows`` and
            ``unlinked_rows`` of the graph, ``calibration``, ``disk_bytes``, ``simd``, ``settings``
            (value and source of each), and more.

            ``calibration`` is what ``recall=`` goes by: its ``state`` (``"none"``: too few rows to
            matter; ``"default"``: not measured yet, so cautious; ``"measuring"``; ``"measured"``;
            ``"due"``: to be measured again), ``rows``, ``time_us`` and ``seconds`` of the last
            measurement, and ``curves``: for each k the number of ``queries``, whether they were
            ``"rows"`` or ``"searches"`` asked before (``of``), and a ``curve`` of
            ``(ef, recall, lower bound of it, microseconds)``.

            ``memory`` holds bytes that this process takes for the database beyond the page cache:
            the ``limit``, ``links`` under construction, ``buffers``, ``pending`` ids and metadata,
            ``queries`` kept for measuring; and ``working_files``, links that the limit keeps out of
            memory.

        Examples
        --------
        >>> stats = db.stats()
        >>> stats["count"], stats["metric"], stats["settings"]["durability"]
        (3, 'cosine', {'value': 'os', 'source': 'default'})
        """
        stats = self._core.stats()
        stats["dimension"] = stats["dimension"] or None
        stats["deleted_share"] = stats["gone"] / stats["rows"] if stats["rows"] else 0.0
        stats["unlinked_rows"] = stats["rows"] - stats["linked_rows"]
        settings = self.settings.as_dict()
        for name, entry in settings.items():
            if name in stats and stats[name] != entry["value"]:
                # Changed since (ef), or decided by an earlier opening in this process.
                settings[name] = {"value": stats[name], "source": "this process"}
        stats["settings"] = settings
        stats["version"] = __version__
        return stats
