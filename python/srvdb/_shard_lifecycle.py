"""The keeping half of :class:`ShardedDatabase`: snapshots of all shards under one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from srvdb._lifecycle import Snapshot
from srvdb._moments import to_datetime
from srvdb._native import now_us
from srvdb._shard_set import ShardSet
from srvdb.database import Database
from srvdb.errors import DuplicateIdError, InvalidInputError, NotFoundError, SrvDBError


class ShardedLifecycle(ShardSet):
    """Keeping states of a whole set, and going back to them."""

    def create_snapshot(self, name: str | None = None) -> Snapshot:
        """Keep the present state of every shard under one name; see :meth:`Database`.

        No write through this object comes between the shards. When one of them fails, those that
        were made are dropped again.
        """
        if name is None:
            name = _timed("snapshot")
        with self._writing:
            return self._create(name)

    def list_snapshots(self) -> list[Snapshot]:
        """Return the snapshots that all shards have, the oldest first; numbers are sums."""
        lists = self._each(lambda shard, n: {kept.name: kept for kept in shard.list_snapshots()})
        whole = [
            _sum([kept[name] for kept in lists])
            for name in lists[0]
            if all(name in kept for kept in lists)
        ]
        return sorted(whole, key=lambda kept: (kept.time, kept.name))

    def restore_snapshot(self, name: str, *, keep_current: bool = True) -> None:
        """Put the state of a snapshot in the place of the present one, in every shard.

        All shards are looked at first: a snapshot that one of them lacks restores nothing. Each
        shard then switches wholly or not at all. With ``keep_current`` the state before becomes a
        snapshot of all of them, ``before_restore_YYYYMMDD_HHMMSS``.
        """
        with self._writing:
            self._require(name)
            if keep_current:
                self._create(_timed("before_restore"))
            self._each(lambda shard, n: shard.restore_snapshot(name, keep_current=False))
            self._dimension = self._common_dimension(None)

    def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot from every shard that has it."""
        with self._writing:
            found = self._each(_tolerant(lambda shard: shard.drop_snapshot(name)))
        if not any(found):
            raise NotFoundError(f"{self.path}: no snapshot {name!r}")

    def refresh(self) -> None:
        """Move read-only shards to the newest state that a reader may see."""
        self._each(lambda shard, n: shard.refresh())

    def _create(self, name: str) -> Snapshot:
        if not isinstance(name, str):
            raise InvalidInputError(f"name must be a str, got {type(name).__name__}")
        for shard in self._shards:
            if name in {kept.name for kept in shard.list_snapshots()}:
                raise DuplicateIdError(f"{shard.path}: there is a snapshot {name!r} already")
        made: list[Database] = []

        def create(shard: Database, number: int) -> Snapshot:
            kept = shard.create_snapshot(name)
            made.append(shard)
            return kept

        try:
            return _sum(self._each(create))
        except SrvDBError:
            for shard in made:
                shard.drop_snapshot(name)
            raise

    def _require(self, name: str) -> None:
        for shard in self._shards:
            if name not in {kept.name for kept in shard.list_snapshots()}:
                raise NotFoundError(f"{shard.path}: no snapshot {name!r}")


def _timed(kind: str) -> str:
    return f"{kind}_{to_datetime(now_us()):%Y%m%d_%H%M%S}"


def _sum(parts: list[Snapshot]) -> Snapshot:
    return dataclasses.replace(
        parts[0],
        time=max(part.time for part in parts),
        vectors=sum(part.vectors for part in parts),
        deleted=sum(part.deleted for part in parts),
        own_bytes=sum(part.own_bytes for part in parts),
    )


def _tolerant(call: Callable[[Database], Any]) -> Callable[[Database, int], bool]:
    """Return whether the shard had what the call is about."""

    def attempt(shard: Database, number: int) -> bool:
        try:
            call(shard)
        except NotFoundError:
            return False
        return True

    return attempt
