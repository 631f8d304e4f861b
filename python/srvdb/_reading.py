"""The reading part of :class:`Database`: by id, by filter, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from srvdb._arrays import MAX_K, as_count, as_ids
from srvdb._filters import Where, as_name, as_where
from srvdb._native import CoreDatabase, __version__
from srvdb._verbs import Verbs
from srvdb.config import Settings
from srvdb.errors import InvalidInputError
from srvdb.hits import Explanation, FacetValue, Record, as_include, to_explanation, to_record


class Reading(Verbs):
    """Methods that change nothing and look for nothing near."""

    _core: CoreDatabase
    settings: Settings

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
        ids: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        include: Iterable[str] = ("metadata",),
        include_deleted: bool = False,
    ) -> list[Record | None]:
        """Return the rows with these ids, None for an unknown one; or all that match a filter.

        Parameters
        ----------
        ids : sequence of str, optional
            Which rows.
        where : dict, optional
            A filter; see ``search``. Without ``ids``: all rows that match, in id order, at one
            moment (``scroll`` reads them page by page). With ``ids``: None where the row does not
            match.
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
        >>> [record.id for record in db.get_records(where={"year": 2025})]
        ['b', 'c']
        """
        metadata, embedding = as_include(include)
        text, deleted = as_where(where), bool(include_deleted)
        if ids is None:
            if not text:
                raise InvalidInputError("get_records needs ids or where")
            page = self._core.scroll("", MAX_K, metadata, embedding, text, deleted)
            return [to_record(parts, metadata) for parts in page]
        found = self._core.records(as_ids(ids), metadata, embedding, deleted, text)
        return [None if parts is None else to_record(parts, metadata) for parts in found]

    def scroll(
        self,
        *,
        where: Where | None = None,
        limit: int = 100,
        after: str | None = None,
        include: Iterable[str] = ("metadata",),
    ) -> list[Record]:
        """Return rows in id order, page by page.

        Parameters
        ----------
        where : dict, optional
            Only rows that match this filter; see ``search``.
        limit : int, default 100
            Rows of a page at most.
        after : str, optional
            The cursor: id of the last row of the page before; it need not exist.
        include : iterable of {"metadata", "embedding"}, default ("metadata",)
            What to read of each.

        Examples
        --------
        >>> [record.id for record in db.scroll(limit=2)]
        ['a', 'b']
        >>> [record.id for record in db.scroll(limit=2, after="b")]
        ['c']
        >>> [record.id for record in db.scroll(where={"year": {"$gt": 2024}})]
        ['b', 'c']
        """
        metadata, embedding = as_include(include)
        limit = as_count(limit, "limit", 1, MAX_K, clip=True)
        start = "" if after is None else as_name(after, "after")
        page = self._core.scroll(start, limit, metadata, embedding, as_where(where))
        return [to_record(parts, metadata) for parts in page]

    def count(self, where: Where | None = None) -> int:
        """Return the number of rows; ``len(db)`` is the same.

        Parameters
        ----------
        where : dict, optional
            Count only rows that match this filter; see ``search``.

        Examples
        --------
        >>> db.count(), len(db), "a" in db
        (3, 3, True)
        >>> db.count({"year": {"$gte": 2025}})
        2
        """
        return self._core.count(as_where(where))

    def facet(
        self, field: str, where: Where | None = None, *, limit: int | None = 100
    ) -> list[FacetValue]:
        """Return the values of a metadata field, with the number of rows that have each.

        Parameters
        ----------
        field : str
            The field, nested ones by dots. Of an array each element counts, once in a row; objects
            and missing fields do not count.
        where : dict, optional
            Count only rows that match this filter; see ``search``.
        limit : int or None, default 100
            Values at most, the most frequent ones; None for all.

        Returns
        -------
        list of FacetValue
            Tuples ``(value, count)``: the most frequent values first, equally frequent ones by
            kind and size.

        Examples
        --------
        >>> db.facet("year")
        [FacetValue(value=2025, count=2), FacetValue(value=2024, count=1)]
        """
        field = as_name(field, "field")
        most = MAX_K if limit is None else as_count(limit, "limit", 1, MAX_K, clip=True)
        return [
            FacetValue(json.loads(text), count)
            for text, count in self._core.facet(field, as_where(where), most)
        ]

    def explain(self, where: Where) -> Explanation:
        """Return how a filter is answered, and about how many rows match.

        Parameters
        ----------
        where : dict
            A filter; see ``search``.

        Returns
        -------
        Explanation
            What is looked at, which fields have a column, and the selectivity.

        Examples
        --------
        >>> db.persist()
        >>> explanation = db.explain({"year": {"$gte": 2025}})
        >>> explanation.path, explanation.fields, explanation.selectivity
        ('columns', {'year': True}, 0.6666666666666666)
        """
        return to_explanation([self._core.explain(as_where(where))])

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
            ``unlinked_rows`` of the graph, ``short_coded_rows`` (with short codes beside the usual
            ones, by which a graph is walked faster: first components where a few directions hold
            nearly all that tells rows apart, else signs of 512 dimensions or more; 0: there are
            none, they would not pay), ``calibration``, ``disk_bytes``, ``simd``, ``settings``
            (value and source of each), and more.

            ``calibration`` is what ``recall=`` goes by: its ``state`` (``"none"``: too few rows to
            matter; ``"default"``: not measured yet, so cautious; ``"measuring"``; ``"measured"``;
            ``"due"``: to be measured again), ``rows``, ``time_us`` and ``seconds`` of the last
            measurement, and ``curves``: for each k the number of ``queries``, whether they were
            ``"rows"`` or ``"searches"`` asked before (``of``), and a ``curve`` of
            ``(ef, recall, lower bound of it, microseconds)``.

            ``memory`` holds bytes that this process takes for the database beyond the page cache:
            the ``limit``, ``links`` under construction, ``buffers``, ``pending`` ids and metadata,
            ``queries`` kept for measuring, answers of ``filters``; ``working_files`` are links that
            the limit keeps out of memory.

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
