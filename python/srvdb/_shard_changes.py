"""The changing half of :class:`ShardedDatabase`: the verbs of ``_changing`` over all shards."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from srvdb._arrays import Metadata, as_count, as_ids
from srvdb._filters import Where, as_where, is_filter
from srvdb._progress import Progress, Report
from srvdb._shard_checks import check_updates
from srvdb._shard_set import ShardSet
from srvdb._updates import Updates, Updating
from srvdb.database import Database
from srvdb.errors import (
    DimensionError,
    DuplicateIdError,
    InvalidInputError,
    NotFoundError,
    SrvDBError,
)
from srvdb.hits import LogEntry

_LISTED_IDS = 20  # of those that were not found
_MAX_LIMIT = 2**63 - 1


class ShardedChanges(Updating, ShardSet):
    """Changing rows that exist, undoing that, and telling what was changed."""

    def batch_update(self, updates: Iterable[Mapping[str, Any] | Sequence[Any]]) -> int:
        """Change rows that exist; see :meth:`Database.batch_update`.

        All ids and values are checked in all shards first, so that an unknown id or bad input
        changes nothing anywhere. The write is then atomic in each shard.
        """
        return super().batch_update(updates)

    def _update(self, updates: Updates) -> int:
        updates = check_updates(updates)
        if not updates.ids:
            return 0
        changed = [0] * len(self._shards)
        with self._writing:
            if len(updates.rows) and updates.rows.shape[1] != self._dimension:
                raise DimensionError(
                    f"expected vectors of dimension {self._dimension}, got {updates.rows.shape[1]}"
                )
            homes = self._homes(updates.ids)
            self._refuse_unknown(updates.ids, homes)

            def write(shard: Database, number: int) -> None:
                items = np.flatnonzero(homes == number)
                if len(items):
                    changed[number] = shard._update(updates.part(items))

            try:
                self._each(write)
            except SrvDBError as error:
                error.added = sum(changed)
                raise
        return sum(changed)

    def _update_where(self, where: str, metadata: Metadata, expires_at: int) -> int:
        with self._writing:
            return sum(
                self._each(lambda shard, n: shard._update_where(where, metadata, expires_at))
            )

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Remove rows for good; see :meth:`Database.delete`."""
        if is_filter("delete", ids, where):
            text = as_where(where)
            with self._writing:
                return sum(self._each(lambda shard, n: shard.delete(where=text)))
        parts = self._split(as_ids(ids))
        with self._writing:
            return sum(self._each(lambda shard, n: shard.delete(parts[n]) if parts[n] else 0))

    def soft_delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Hide rows until they are restored; see :meth:`Database.soft_delete`."""
        if is_filter("soft_delete", ids, where):
            text = as_where(where)
            with self._writing:
                return sum(self._each(lambda shard, n: shard.soft_delete(where=text)))
        parts = self._split(as_ids(ids))
        with self._writing:
            return sum(self._each(lambda shard, n: shard.soft_delete(parts[n]) if parts[n] else 0))

    def restore(self, ids: Sequence[str]) -> int:
        """Show soft-deleted rows again; see :meth:`Database.restore`."""
        parts = self._split(as_ids(ids))
        with self._writing:
            return sum(self._each(lambda shard, n: shard.restore(parts[n]) if parts[n] else 0))

    def deleted_ids(self) -> list[str]:
        """Return the ids of the soft-deleted rows of all shards, in id order."""
        return list(heapq.merge(*self._each(lambda shard, n: shard.deleted_ids())))

    def compact(self, *, progress: bool | Report = False) -> int:
        """Drop deleted and replaced rows, one shard after the other; see :meth:`Database.compact`.

        Returns the bytes given back to the file system.
        """
        totals = [shard.count() for shard in self._shards]
        freed = 0
        with Progress(progress, "compacting", sum(totals)) as bar:
            for number, shard in enumerate(self._shards):
                before = sum(totals[:number])

                def report(done: int, total: int | None, before: int = before) -> None:
                    bar.update(before + done)

                freed += shard.compact(progress=report if bar.wanted else False)
        return freed

    # ---- audit -----------------------------------------------------------------------------------

    def change_log(
        self,
        limit: int | None = 50,
        since: datetime | None = None,
        operation: str | None = None,
    ) -> list[LogEntry]:
        """Return what was done in all shards, in order of time; see :meth:`Database.change_log`.

        A call that touches several shards has an entry in each of them; ``.shard`` is its number.
        Sequence numbers are each shard's own, so that ``since`` takes a moment only.
        """
        count = _MAX_LIMIT if limit is None else as_count(limit, "limit", 1, _MAX_LIMIT, clip=True)
        moment = None if since is None else _as_datetime(since, "since")
        logs = self._each(lambda shard, n: shard.change_log(limit, moment, operation))
        named = [[replace(entry, shard=n) for entry in log] for n, log in enumerate(logs)]
        entries = list(heapq.merge(*named, key=_time))
        return entries[-count:] if since is None else entries[:count]

    def trim_change_log(self, before: datetime) -> int:
        """Forget the entries made before a moment, in every shard; returns how many."""
        moment = _as_datetime(before, "before")
        with self._writing:
            return sum(self._each(lambda shard, n: shard.trim_change_log(moment)))

    # ---- inside ----------------------------------------------------------------------------------

    def _look_up(
        self, ids: Sequence[str], homes: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which of the ids exist, and which of them are soft-deleted."""
        known = np.zeros(len(ids), dtype=bool)
        deleted = np.zeros(len(ids), dtype=bool)

        def look(shard: Database, number: int) -> None:
            items = np.flatnonzero(homes == number)
            if not len(items):
                return
            part = [ids[i] for i in items.tolist()]
            found = shard.get_records(part, include=(), include_deleted=True)
            known[items] = [record is not None for record in found]
            deleted[items] = [record is not None and record.deleted for record in found]

        self._each(look)
        return known, deleted

    def _refuse_unknown(self, ids: Sequence[str], homes: npt.NDArray[np.intp]) -> None:
        known, deleted = self._look_up(ids, homes)
        missing = [i for i in range(len(ids)) if deleted[i] or not known[i]]
        if not missing:
            return
        shown = [
            f"{ids[i]!r}{' (soft-deleted: restore it first)' if deleted[i] else ''}"
            for i in missing[:_LISTED_IDS]
        ]
        error = NotFoundError(
            f"nothing was updated; {len(missing)} {'id' if len(missing) == 1 else 'ids'} not "
            f"found: {', '.join(shown)}{', …' if len(missing) > _LISTED_IDS else ''}"
        )
        error.ids = tuple(ids[i] for i in missing)
        raise error

    def _refuse_duplicates(
        self, ids: Sequence[str], homes: npt.NDArray[np.intp], first_item: int
    ) -> None:
        known, deleted = self._look_up(ids, homes)
        seen: set[str] = set()
        for i, id in enumerate(ids):
            if id in seen:
                raise DuplicateIdError(
                    f"item {first_item + i}: id {id!r} stands twice in the batch"
                )
            seen.add(id)
            if known[i]:
                state = "is soft-deleted: restore or upsert it" if deleted[i] else "exists already"
                raise DuplicateIdError(f"item {first_item + i}: id {id!r} {state}")


def _as_datetime(value: object, label: str) -> datetime:
    if isinstance(value, datetime):
        return value
    raise InvalidInputError(
        f"{label} must be a datetime, as each shard has sequence numbers of its own; "
        f"got {type(value).__name__} ({value!r})"
    )


def _time(entry: LogEntry) -> datetime:
    return entry.time
