"""The shards of a :class:`ShardedDatabase`: opening them, asking all of them, closing them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from srvdb._arrays import as_count
from srvdb._native import StopFlag
from srvdb._placement import MAX_SHARDS, open_directory, open_paths, shard_of
from srvdb._shard_checks import as_id
from srvdb._verbs import Verbs
from srvdb.config import FILE_NAME
from srvdb.database import Database
from srvdb.errors import ClosedError, DimensionError, InvalidInputError, SrvDBError

_T = TypeVar("_T")


class ShardSet(Verbs):
    """Opened shards, in order, and a thread for each."""

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        dimension: int | None = None,
        mode: str | None = None,
        *,
        shards: int | None = None,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        create: bool = True,
        **options: Any,
    ) -> None:
        if shards is not None:
            shards = as_count(shards, "shards", 1, MAX_SHARDS)
        create = create and not options.get("read_only", False)
        if isinstance(paths, (str, os.PathLike)):
            self.path = os.fspath(paths)
            found = open_directory(Path(paths), shards, create)
            if config is None and (Path(paths) / FILE_NAME).is_file():
                config = Path(paths) / FILE_NAME
        else:
            found = [Path(path) for path in paths]
            if not found or (shards is not None and shards != len(found)):
                raise InvalidInputError(f"got {len(found)} paths for {shards} shards")
            self.path = os.fspath(found[0].parent)
            found = open_paths(found, create)
        self._shards: list[Database] = []
        try:
            for path in found:
                self._shards.append(
                    Database(path, dimension, mode, config=config, create=create, **options)
                )
            self._dimension = self._common_dimension(dimension)
        except BaseException:
            for shard in self._shards:
                shard.close()
            raise
        self._writing = threading.Lock()
        self._pool = ThreadPoolExecutor(min(len(found), 64), thread_name_prefix="srvdb-shard")
        self._pid = os.getpid()
        self._close_at_exit()

    @property
    def shards(self) -> tuple[Database, ...]:
        """The databases, in order; write through this class, never to one of them."""
        return tuple(self._shards)

    def shard_of(self, id: str) -> int:
        """Return the number of the shard that holds, or would hold, an id."""
        return shard_of(id, len(self._shards))

    def close(self) -> None:
        """Close every shard; twice is fine."""
        errors: list[SrvDBError] = []
        for shard in self._shards:
            try:
                shard.close()
            except SrvDBError as error:
                errors.append(error)
        if self._pid == os.getpid():
            self._pool.shutdown()
        if errors:
            raise errors[0]

    def _home(self, id: str) -> Database:
        return self._shards[self.shard_of(as_id(id, ""))]

    def _split(self, ids: Sequence[str]) -> list[list[str]]:
        parts: list[list[str]] = [[] for _ in self._shards]
        for i, id in enumerate(ids):
            as_id(id, f"item {i}: ")
            parts[self.shard_of(id)].append(id)
        return parts

    def _each(self, call: Callable[[Database, int], _T], stop: StopFlag | None = None) -> list[_T]:
        """Run a call on every shard at once; the first error is raised when all have ended."""
        if self._pid != os.getpid():
            raise ClosedError(f"{self.path} was opened before a fork; open it again in the child")
        if len(self._shards) == 1:
            return [call(self._shards[0], 0)]
        try:
            futures = [self._pool.submit(call, s, n) for n, s in enumerate(self._shards)]
        except RuntimeError:  # the pool was shut down
            raise ClosedError(f"{self.path} is closed") from None
        return _results(futures, stop)

    def _common_dimension(self, dimension: int | None) -> int | None:
        known = {shard.stats()["dimension"] for shard in self._shards} - {None}
        if len(known) > 1:
            raise DimensionError(f"{self.path}: shards of different dimensions, {sorted(known)}")
        return known.pop() if known else dimension

    def _homes(self, ids: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return the shard of each id."""
        return np.fromiter((self.shard_of(id) for id in ids), dtype=np.intp, count=len(ids))


def _results(futures: list[Future[_T]], stop: StopFlag | None) -> list[_T]:
    try:
        for future in futures:
            future.exception()  # waits
    except BaseException:  # Ctrl-C while waiting
        if stop is not None:
            stop.stop()
        for future in futures:
            future.cancel()
        wait(futures)  # what has begun to write is counted
        raise
    return [future.result() for future in futures]
