"""One database spread over several: the same verbs, ids placed by a stable hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    as_vector,
    check_lengths,
)
from srvdb._moments import Milliseconds, Moments, as_expiries, part_of
from srvdb._native import Counter, StopFlag
from srvdb._placement import MAX_SHARDS
from srvdb._progress import Progress, Report
from srvdb._shard_changes import ShardedChanges
from srvdb._shard_checks import check_batch
from srvdb._shard_lifecycle import ShardedLifecycle
from srvdb.database import Database
from srvdb.errors import DimensionError, SrvDBError
from srvdb.hits import Hits, Record

__all__ = ["ShardedDatabase"]

_Summed = (
    "count", "rows", "soft_deleted", "gone", "buffered_rows", "coded_rows", "linked_rows",
    "unlinked_rows", "graph_saved_rows", "wal_bytes", "disk_bytes", "graph_memory_bytes",
)  # fmt: skip


class ShardedDatabase(ShardedChanges, ShardedLifecycle):
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

    def delete(self, ids: Sequence[str]) -> int:
        """Remove rows for good; unknown ids are ignored. Returns how many were removed."""
        parts = self._split(as_ids(ids))
        with self._writing:
            return sum(self._each(lambda shard, n: shard.delete(parts[n]) if parts[n] else 0))

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
        """Return the k nearest rows of all shards, best first; see :meth:`Database.search`."""
        vector = as_vector(query)
        names = tuple([include] if isinstance(include, str) else include)
        deleted = include_deleted
        answers = self._each(
            lambda shard, n: shard.search(
                vector,
                k,
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
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
        include_deleted: bool = False,
        threads: int = 1,
    ) -> list[Hits]:
        """Search for many queries at once; see :meth:`Database.search_batch`.

        ``threads`` counts for each shard.
        """
        rows = as_matrix(queries, "queries")
        names = tuple([include] if isinstance(include, str) else include)
        # One shard is searched by this thread, which listens to Ctrl-C itself.
        stop = StopFlag() if len(self._shards) > 1 else None
        answers = self._each(
            lambda shard, n: shard._search_batch(
                rows, k, ef, recall, exact, names, include_deleted, threads, stop
            ),
            stop,
        )
        return [_merge(lists, k) for lists in zip(*answers, strict=True)]

    # ---- read ------------------------------------------------------------------------------------

    def get(self, id: str) -> str | None:
        """Return a row's metadata as JSON text; see :meth:`Database.get`."""
        return self._home(id).get(id)

    def get_records(
        self,
        ids: Sequence[str],
        *,
        include: Iterable[str] = ("metadata",),
        include_deleted: bool = False,
    ) -> list[Record | None]:
        """Return the rows with these ids, None for an unknown one."""
        ids = as_ids(ids)
        parts = self._split(ids)
        names = tuple([include] if isinstance(include, str) else include)
        deleted = include_deleted
        found = self._each(
            lambda shard, n: (
                shard.get_records(parts[n], include=names, include_deleted=deleted)
                if parts[n]
                else []
            )
        )
        queues = [iter(records) for records in found]
        return [next(queues[self.shard_of(id)]) for id in ids]

    def scroll(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        include: Iterable[str] = ("metadata",),
    ) -> list[Record]:
        """Return rows in id order, page by page; see :meth:`Database.scroll`."""
        names = tuple([include] if isinstance(include, str) else include)
        pages = self._each(lambda shard, n: shard.scroll(limit=limit, after=after, include=names))
        return sorted((record for page in pages for record in page), key=_first)[:limit]

    def count(self) -> int:
        """Return the number of rows in all shards."""
        return sum(shard.count() for shard in self._shards)

    def contains(self, id: str) -> bool:
        """Return whether a row with this id exists; ``id in db`` is the same."""
        return self._home(id).contains(id)

    def _page_of_ids(self, after: str, limit: int) -> list[str]:
        pages = self._each(lambda shard, n: shard._page_of_ids(after, limit))
        return sorted(id for page in pages for id in page)[:limit]

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
        """Change the candidates of graph searches that name no ``ef``, in every shard."""
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


def _first(record: Record) -> str:
    return record.id


def _merge(answers: Iterable[Hits], k: int) -> Hits:
    return Hits(
        sorted((hit for hits in answers for hit in hits), key=lambda hit: (-hit[1], hit[0]))[:k]
    )
