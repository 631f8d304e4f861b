"""One database spread over several: the same verbs, ids placed by a stable hash."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

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
from srvdb._native import Counter, StopFlag, dump_metadata, metadata_problem
from srvdb._placement import MAX_SHARDS, open_directory, open_paths, shard_of
from srvdb._progress import Progress, Report
from srvdb._verbs import Verbs
from srvdb.config import FILE_NAME
from srvdb.database import Database
from srvdb.errors import (
    ClosedError,
    DimensionError,
    DuplicateIdError,
    InvalidInputError,
    SrvDBError,
)
from srvdb.hits import Hits, Record

__all__ = ["ShardedDatabase"]

# The limits of one atomic batch, as in the core.
_MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20
_MAX_ID_BYTES = 511
_MAX_METADATA_BYTES = 1 << 20

_T = TypeVar("_T")
_Summed = (
    "count", "rows", "buffered_rows", "coded_rows", "linked_rows", "unlinked_rows",
    "graph_saved_rows", "wal_bytes", "disk_bytes", "graph_memory_bytes",
)  # fmt: skip


class ShardedDatabase(Verbs):
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
        Everything else that :class:`Database` takes.

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

    # ---- write -----------------------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
    ) -> int:
        """Add rows; see :meth:`Database.add`. Atomic in each shard."""
        return self._write(ids, embeddings, metadatas, False, Counter())

    def upsert(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
    ) -> int:
        """Add or replace rows; see :meth:`Database.upsert`. Atomic in each shard."""
        return self._write(ids, embeddings, metadatas, True, Counter())

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
        upsert: bool = False,
        progress: bool | Report = False,
        threads: int = 1,
    ) -> int:
        """Add any number of rows, piece by piece; see :meth:`Database.add_batch`."""
        counter = Counter()
        threads = as_count(threads, "threads", 0, MAX_SHARDS)
        total = _batches.input_length(ids) if embeddings is not None else None
        try:
            with Progress(progress, "adding", total) as bar:
                for piece in _batches.pieces(ids, embeddings, metadatas, threads):
                    check_lengths(piece.ids, piece.rows, piece.metadatas)
                    step = _batches.WINDOW_BYTES // max(1, 4 * piece.rows.shape[1])
                    step = max(1, min(_batches.WINDOW_ROWS, step))
                    for start in range(0, len(piece.ids), step):
                        part = slice(start, start + step)
                        self._write(
                            piece.ids[part],
                            piece.rows[part],
                            None if piece.metadatas is None else piece.metadatas[part],
                            upsert,
                            counter,
                            piece.first_item + start,
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
        exact: bool = False,
        include: Iterable[str] = (),
    ) -> Hits:
        """Return the k nearest rows of all shards, best first; see :meth:`Database.search`."""
        vector = as_vector(query)
        names = tuple([include] if isinstance(include, str) else include)
        answers = self._each(
            lambda shard, n: shard.search(vector, k, ef=ef, exact=exact, include=names)
        )
        return _merge(answers, k)

    def search_batch(
        self,
        queries: npt.ArrayLike | Sequence[Sequence[float]],
        k: int = 10,
        *,
        ef: int | None = None,
        exact: bool = False,
        include: Iterable[str] = (),
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
            lambda shard, n: shard._search_batch(rows, k, ef, exact, names, threads, stop), stop
        )
        return [_merge(lists, k) for lists in zip(*answers, strict=True)]

    # ---- read ------------------------------------------------------------------------------------

    def get(self, id: str) -> str | None:
        """Return a row's metadata as JSON text; see :meth:`Database.get`."""
        return self._home(id).get(id)

    def get_records(
        self, ids: Sequence[str], *, include: Iterable[str] = ("metadata",)
    ) -> list[Record | None]:
        """Return the rows with these ids, None for an unknown one."""
        ids = as_ids(ids)
        parts = self._split(ids)
        names = tuple([include] if isinstance(include, str) else include)
        found = self._each(
            lambda shard, n: shard.get_records(parts[n], include=names) if parts[n] else []
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

    def stats(self) -> dict[str, Any]:
        """Return the numbers of all shards together, and those of each under ``"shards"``."""
        each = [shard.stats() for shard in self._shards]
        total = {key: each[0][key] for key in ("metric", "mode", "searching", "durability")}
        total.update({key: sum(stats[key] for stats in each) for key in _Summed})
        total.update(path=self.path, dimension=self._dimension, shards=each)
        return total

    # ---- inside ----------------------------------------------------------------------------------

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

    def _write(
        self,
        ids: Any,
        embeddings: Any,
        metadatas: Any,
        replace: bool,
        counter: Counter,
        first_item: int = 0,
    ) -> int:
        ids = as_ids(ids)
        rows = as_matrix(embeddings, "embeddings", first_item)
        metadatas = as_metadatas(metadatas)
        check_lengths(ids, rows, metadatas)
        if not ids:
            return 0
        texts = _check_batch(ids, rows, metadatas, first_item)
        with self._writing:
            if self._dimension is not None and rows.shape[1] != self._dimension:
                raise DimensionError(
                    f"item {first_item}: expected dimension {self._dimension}, got {rows.shape[1]}"
                )
            homes = np.fromiter((self.shard_of(id) for id in ids), dtype=np.intp, count=len(ids))
            if not replace:
                self._refuse_duplicates(ids, homes, first_item)
            self._write_parts(ids, rows, texts, replace, homes, counter)
            self._dimension = int(rows.shape[1])
        return len(ids)

    def _refuse_duplicates(
        self, ids: Sequence[str], homes: npt.NDArray[np.intp], first_item: int
    ) -> None:
        seen: set[str] = set()
        for i, id in enumerate(ids):
            if id in seen:
                raise DuplicateIdError(
                    f"item {first_item + i}: id {id!r} stands twice in the batch"
                )
            seen.add(id)
            if self._shards[homes[i]].contains(id):
                raise DuplicateIdError(f"item {first_item + i}: id {id!r} exists already")

    def _write_parts(
        self,
        ids: Sequence[str],
        rows: Floats,
        texts: list[str | None] | None,
        replace: bool,
        homes: npt.NDArray[np.intp],
        counter: Counter,
    ) -> None:
        added = [0] * len(self._shards)

        def write(shard: Database, number: int) -> None:
            items = np.flatnonzero(homes == number)
            numbers: list[int] = items.tolist()
            if not numbers:
                return
            write_to = shard.upsert if replace else shard.add
            part = None if texts is None else [texts[i] for i in numbers]
            write_to([ids[i] for i in numbers], rows[items], part)
            added[number] = len(numbers)

        try:
            self._each(write)
        except SrvDBError as error:
            error.added = sum(added)
            raise
        finally:
            counter.rows += sum(added)


def as_id(id: object, where: str) -> str:
    """Return an id as it is.

    Raises
    ------
    InvalidInputError
        Not a str, empty, too long, or not something that can be stored.
    """
    if not isinstance(id, str):
        hint = "; write str(i)" if isinstance(id, (int, np.integer)) else ""
        raise InvalidInputError(f"{where}an id must be str, got {type(id).__name__} ({id!r}){hint}")
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"{where}the id is not valid Unicode: {id!r}") from None
    if not 1 <= size <= _MAX_ID_BYTES:
        raise InvalidInputError(f"{where}an id has 1 to {_MAX_ID_BYTES} bytes, got {size}")
    return id


def _check_batch(
    ids: Sequence[str],
    rows: Floats,
    metadatas: Sequence[Metadata] | None,
    first_item: int,
) -> list[str | None] | None:
    """Check all that one shard would refuse; returns the metadata as text."""
    for i, id in enumerate(ids):
        as_id(id, f"item {first_item + i}: ")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        i = int(np.argmin(finite))
        component = int(np.argmin(np.isfinite(rows[i])))
        raise InvalidInputError(
            f"item {first_item + i}: component {component} is {rows[i, component]}, "
            "expected a finite number"
        )
    texts = None
    if metadatas is not None:
        texts = [_as_text(value, first_item + i) for i, value in enumerate(metadatas)]
    size = rows.nbytes + sum(map(len, ids)) + sum(len(text or "") for text in texts or ())
    if len(ids) > _MAX_ROWS or size > _MAX_BYTES:
        raise InvalidInputError(
            f"one batch holds at most {_MAX_ROWS:,} rows and {_MAX_BYTES >> 20} MiB, got "
            f"{len(ids):,} rows and {math.ceil(size / 2**20)} MiB; use add_batch"
        )
    return texts


def _as_text(value: object, item: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict):
        value = dump_metadata(value, item)
    elif isinstance(value, str):
        problem = "must be a JSON object, got an empty str" if not value else None
        if problem is None:
            try:
                problem = metadata_problem(value)
            except UnicodeEncodeError:
                problem = "is not valid Unicode"
        if problem is not None:
            raise InvalidInputError(f"item {item}: metadata {problem}")
    else:
        raise InvalidInputError(
            f"item {item}: metadata must be a dict, a JSON object as text or None, "
            f"got {type(value).__name__}"
        )
    if len(value.encode()) > _MAX_METADATA_BYTES:
        raise InvalidInputError(f"item {item}: metadata is larger than 1 MiB")
    return value


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


def _first(record: Record) -> str:
    return record.id


def _merge(answers: Iterable[Hits], k: int) -> Hits:
    return Hits(
        sorted((hit for hits in answers for hit in hits), key=lambda hit: (-hit[1], hit[0]))[:k]
    )
