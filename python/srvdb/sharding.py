"""One database spread over several: the same verbs, ids placed by a stable hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from srvdb import _batches
from srvdb._arrays import (
    Floats,
    Metadata,
    as_count,
    as_ids,
    as_matrix,
    as_metadatas,
    check_lengths,
)
from srvdb._moments import Milliseconds, Moments, as_expiries, part_of
from srvdb._native import Counter
from srvdb._placement import MAX_SHARDS
from srvdb._progress import Progress, Report
from srvdb._shard_changes import ShardedChanges
from srvdb._shard_checks import check_batch
from srvdb._shard_lifecycle import ShardedLifecycle
from srvdb._shard_reading import ShardedReading
from srvdb.database import Database
from srvdb.errors import DimensionError, SrvDBError

__all__ = ["ShardedDatabase"]

_Summed = (
    "count", "rows", "soft_deleted", "gone", "buffered_rows", "coded_rows", "short_coded_rows",
    "linked_rows", "unlinked_rows", "graph_saved_rows", "wal_bytes", "disk_bytes",
    "graph_memory_bytes",
)  # fmt: skip


class ShardedDatabase(ShardedChanges, ShardedLifecycle, ShardedReading):
    """Several databases that are used as one.

    An id lives in shard ``u64(BLAKE2b-64(id)) mod n``. Number, hash and order of the shards are
    fixed in manifests when they are created, and checked at every opening. Searches run in all
    shards at once and are merged; the answer is that of one database with the same rows.

    A batch is checked as a whole before any shard is written (ids, duplicates, vectors, metadata),
    so that bad input applies nothing. The write itself is atomic in each shard: when a disk fails
    in one, the others keep their part, and the error's ``added`` says how many rows were written.

    Parameters
    ----------
    paths : path, or sequence of paths
        One directory that holds all shards, or the directory of each, always in the same order.
    dimension, mode : optional
        As for :class:`Database`.
    shards : int, optional
        How many, 1 to 1000; needed once, to create a set in one directory.
    **options
        Everything else that :class:`Database` takes; ``memory_limit`` counts for each shard.

    Raises
    ------
    InvalidInputError
        Another number, order or set of shards than was created.

    Examples
    --------
    >>> with srvdb.ShardedDatabase(path, shards=3) as db:
    ...     db.add(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]])
    ...     db.search([1, 0.1], k=2).ids
    3
    ['a', 'c']
    """

    # ---- write -----------------------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
        *,
        expires_at: Moments = None,
    ) -> int:
        """Add rows; see :meth:`Database.add`. Atomic in each shard."""
        ids = as_ids(ids)
        moments = as_expiries(expires_at, len(ids))
        return self._write(ids, embeddings, metadatas, False, moments, Counter())

    def upsert(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
        *,
        expires_at: Moments = None,
    ) -> int:
        """Add or replace rows; see :meth:`Database.upsert`. Atomic in each shard."""
        ids = as_ids(ids)
        moments = as_expiries(expires_at, len(ids))
        return self._write(ids, embeddings, metadatas, True, moments, Counter())

    def add_batch(
        self,
        ids: Any,
        embeddings: Any = None,
        metadatas: Any = None,
        *,
        expires_at: Moments = None,
        upsert: bool = False,
        progress: bool | Report = False,
        threads: int = 1,
    ) -> int:
        """Add any number of rows, piece by piece; see :meth:`Database.add_batch`."""
        counter = Counter()
        threads = as_count(threads, "threads", 0, MAX_SHARDS)
        total = _batches.input_length(ids) if embeddings is not None else None
        moments = None
        if expires_at is not None:
            ids = ids if embeddings is None else as_ids(ids)
            moments = as_expiries(expires_at, None if embeddings is None else len(ids))
        try:
            with Progress(progress, "adding", total) as bar:
                for piece in _batches.pieces(ids, embeddings, metadatas, threads):
                    check_lengths(piece.ids, piece.rows, piece.metadatas)
                    step = _batches.WINDOW_BYTES // max(1, 4 * piece.rows.shape[1])
                    step = max(1, min(_batches.WINDOW_ROWS, step))
                    for start in range(0, len(piece.ids), step):
                        part = slice(start, start + step)
                        first = piece.first_item + start
                        self._write(
                            piece.ids[part],
                            piece.rows[part],
                            None if piece.metadatas is None else piece.metadatas[part],
                            upsert,
                            part_of(moments, slice(first, first + step)),
                            counter,
                            first,
                        )
                        bar.update(counter.rows)
        except BaseException as error:
            _batches.note_added(error, counter.rows)
            raise
        return counter.rows

    # ---- keep and index --------------------------------------------------------------------------

    def persist(self) -> None:
        """Return when everything written so far is on disk, in every shard."""
        self._each(lambda shard, n: shard.persist())

    def optimize(self, *, progress: bool | Report = False, threads: int = 0) -> None:
        """Link every row of every shard, one shard after the other."""
        totals = [shard.count() for shard in self._shards]
        with Progress(progress, "linking", sum(totals)) as bar:
            for number, shard in enumerate(self._shards):
                before = sum(totals[:number])

                def report(done: int, total: int | None, before: int = before) -> None:
                    bar.update(before + done)

                shard.optimize(threads=threads, progress=report if bar.wanted else False)

    def set_mode(self, mode: str) -> None:
        """Change how rows are searched, in every shard."""
        for shard in self._shards:
            shard.set_mode(mode)

    def set_ef_search(self, ef: int) -> None:
        """Change the width of graph searches that name no ``ef``, in every shard."""
        for shard in self._shards:
            shard.set_ef_search(ef)

    def set_recall(self, recall: float) -> None:
        """Change the recall of searches that name neither that nor ``ef``, in every shard."""
        for shard in self._shards:
            shard.set_recall(recall)

    def stats(self) -> dict[str, Any]:
        """Return the numbers of all shards together, and those of each under ``"shards"``."""
        each = [shard.stats() for shard in self._shards]
        total = {key: each[0][key] for key in ("metric", "mode", "searching", "durability")}
        total.update({key: sum(stats[key] for stats in each) for key in _Summed})
        total["deleted_share"] = total["gone"] / total["rows"] if total["rows"] else 0.0
        total["recall"] = each[0]["recall"]
        total.update(path=self.path, dimension=self._dimension, shards=each)
        return total

    # ---- inside ----------------------------------------------------------------------------------

    def _write(
        self,
        ids: Any,
        embeddings: Any,
        metadatas: Any,
        replace: bool,
        moments: Milliseconds | None,
        counter: Counter,
        first_item: int = 0,
    ) -> int:
        ids = as_ids(ids)
        rows = as_matrix(embeddings, "embeddings", first_item)
        metadatas = as_metadatas(metadatas)
        check_lengths(ids, rows, metadatas)
        if not ids:
            return 0
        texts = check_batch(ids, rows, metadatas, first_item)
        with self._writing:
            if self._dimension is not None and rows.shape[1] != self._dimension:
                raise DimensionError(
                    f"item {first_item}: expected dimension {self._dimension}, got {rows.shape[1]}"
                )
            homes = self._homes(ids)
            if not replace:
                self._refuse_duplicates(ids, homes, first_item)
            self._write_parts(ids, rows, texts, replace, moments, homes, counter)
            self._dimension = int(rows.shape[1])
        return len(ids)

    def _write_parts(
        self,
        ids: Sequence[str],
        rows: Floats,
        texts: list[str | None] | None,
        replace: bool,
        moments: Milliseconds | None,
        homes: npt.NDArray[np.intp],
        counter: Counter,
    ) -> None:
        added = [0] * len(self._shards)

        def write(shard: Database, number: int) -> None:
            items = np.flatnonzero(homes == number)
            numbers: list[int] = items.tolist()
            if not numbers:
                return
            shard._core.write(
                [ids[i] for i in numbers],
                rows[items],
                None if texts is None else [texts[i] for i in numbers],
                replace,
                part_of(moments, items),
            )
            added[number] = len(numbers)

        try:
            self._each(write)
        except SrvDBError as error:
            error.added = sum(added)
            raise
        finally:
            counter.rows += sum(added)
