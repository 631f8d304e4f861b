"""The changing half of :class:`Database`: updates, soft deletion, and the log of all changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from srvdb._arrays import Metadata, as_count, as_ids
from srvdb._filters import Where, as_where, is_filter
from srvdb._moments import as_sequence
from srvdb._native import CoreDatabase
from srvdb._progress import Progress, Report
from srvdb._updates import Updates, Updating
from srvdb.errors import InvalidInputError
from srvdb.hits import LogEntry, to_log_entry

_MAX_LIMIT = 2**63 - 1


class Changing(Updating):
    """Methods that change rows which exist, undo that, and tell what was changed."""

    _core: CoreDatabase

    def _update(self, updates: Updates) -> int:
        return self._core.update(*updates)

    def _update_where(self, where: str, metadata: Metadata, expires_at: int) -> int:
        return self._core.update_where(where, [metadata], expires_at)

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Remove rows for good, soft-deleted ones too; unknown ids are ignored.

        Parameters
        ----------
        ids : sequence of str, optional
            Which rows.
        where : dict, optional
            In the place of ``ids``: all rows that match this filter (see ``search``) and are not
            soft-deleted. More than 100,000 are removed in several steps, each wholly or not at
            all.

        Returns
        -------
        int
            Rows removed.

        Examples
        --------
        >>> db.delete(["a", "nobody"])
        1
        >>> db.delete(where={"year": {"$lt": 2030}})
        2
        """
        if is_filter("delete", ids, where):
            return self._core.remove_where(as_where(where))
        return self._core.remove(as_ids(ids))

    def soft_delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Hide rows from searches and look-ups, at once; ``restore`` brings them back.

        Ids that are unknown or soft-deleted already are ignored. Adding such an id is refused;
        ``upsert`` replaces it and makes it live, ``delete`` removes it for good.

        Parameters
        ----------
        ids : sequence of str, optional
            Which rows.
        where : dict, optional
            In the place of ``ids``: all rows that match this filter; see ``delete``.

        Returns
        -------
        int
            Rows that were hidden.

        Examples
        --------
        >>> db.soft_delete(["a", "nobody"])
        1
        >>> "a" in db, db.search([1.0, 0.0]).ids
        (False, ['c', 'b'])
        >>> db.search([1.0, 0.0], include_deleted=True).ids
        ['a', 'c', 'b']
        """
        if is_filter("soft_delete", ids, where):
            return self._core.soft_delete_where(as_where(where))
        return self._core.soft_delete(as_ids(ids))

    def restore(self, ids: Sequence[str]) -> int:
        """Show soft-deleted rows again, at once; other ids are ignored.

        Returns
        -------
        int
            Rows that came back.

        Examples
        --------
        >>> db.soft_delete(["a", "b"])
        2
        >>> db.restore(["a"]), db.deleted_ids()
        (1, ['b'])
        """
        return self._core.restore(as_ids(ids))

    def deleted_ids(self) -> list[str]:
        """Return the ids of the soft-deleted rows, in id order.

        Examples
        --------
        >>> db.soft_delete(["b"])
        1
        >>> db.deleted_ids()
        ['b']
        """
        return self._core.deleted_ids()

    def compact(self, *, progress: bool | Report = False) -> int:
        """Drop deleted, expired and replaced rows from the files.

        Searches and writes go on meanwhile. Soft-deleted rows stay, and so does what snapshots
        hold. It needs room for a second copy of the rows that stay, and changes nothing when it is
        interrupted. ``stats()["deleted_share"]`` says what there is to gain; with ``auto_compact``
        it happens by itself.

        Parameters
        ----------
        progress : bool or callable, default False
            True draws a bar on stderr; a callable gets ``(rows done, rows in all)``.

        Returns
        -------
        int
            Bytes given back to the file system; less than zero when the database was small and has
            grown by the bookkeeping.

        Examples
        --------
        >>> db.delete(["a", "b"])
        2
        >>> freed = db.compact()
        >>> stats = db.stats()
        >>> stats["rows"], stats["gone"], stats["deleted_share"]
        (1, 0, 0.0)
        """
        with Progress(progress, "compacting") as bar:
            return self._core.compact(bar.update if bar.wanted else None)

    # ---- audit -----------------------------------------------------------------------------------

    def change_log(
        self,
        limit: int | None = 50,
        since: int | datetime | None = None,
        operation: str | None = None,
    ) -> list[LogEntry]:
        """Return what was done, in order: the newest entries, or the first ones after a point.

        Every change has its entry, written together with it; it outlives closing, compaction and
        the restoring of snapshots, until ``trim_change_log`` removes it.

        Parameters
        ----------
        limit : int or None, default 50
            How many entries at most; None for all.
        since : int or datetime, optional
            A sequence number, for the entries after it; or a moment with a time zone, for those
            made then and later. With it the first ``limit`` entries are returned, so that a caller
            can go on from the last one's ``sequence``; without it the newest.
        operation : str, optional
            Only entries of this operation; see :class:`LogEntry`.

        Examples
        --------
        >>> db.update("a", metadata={"n": 1}), db.delete(["b"])
        (1, 1)
        >>> for entry in db.change_log():
        ...     print(entry.sequence, entry.operation, *entry.ids)
        1 add a b c
        2 update a
        3 delete b
        >>> [entry.operation for entry in db.change_log(since=1, limit=1)]
        ['update']
        """
        count = _MAX_LIMIT if limit is None else as_count(limit, "limit", 1, _MAX_LIMIT, clip=True)
        after = None if since is None else as_sequence(self._core, since, "since")
        if isinstance(since, datetime) and after is not None:
            after = max(0, after - 1)
        if operation is not None and not isinstance(operation, str):
            raise InvalidInputError(
                f"operation must be a str, got {type(operation).__name__} ({operation!r})"
            )
        return [to_log_entry(parts) for parts in self._core.change_log(count, after, operation)]

    def trim_change_log(self, before: int | datetime) -> int:
        """Forget the entries of the change log before a point; the trimming itself is logged.

        Parameters
        ----------
        before : int or datetime
            A sequence number, or a moment with a time zone; the entries before it go.

        Returns
        -------
        int
            Entries that were removed.

        Examples
        --------
        >>> db.soft_delete(["a"])
        1
        >>> db.trim_change_log(2)
        1
        >>> [entry.operation for entry in db.change_log()]
        ['soft_delete', 'trim_change_log']
        """
        return self._core.trim_change_log(as_sequence(self._core, before, "before"))
