"""The database class: arguments are checked and converted here, the core does the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy.typing as npt

from srvdb import _batches
from srvdb._arrays import (
    MAX_EF,
    MAX_THREADS,
    Floats,
    Metadata,
    as_count,
    as_ids,
    as_matrix,
    as_metadatas,
    as_recall,
    check_lengths,
)
from srvdb._changing import Changing
from srvdb._filters import as_indexed_fields
from srvdb._lifecycle import Lifecycle
from srvdb._maintenance import Verifying
from srvdb._moments import Milliseconds, Moments, as_expiries, part_of
from srvdb._native import CoreDatabase, Counter
from srvdb._progress import Progress, Report
from srvdb._searching import Searching
from srvdb._verbs import as_mode
from srvdb.config import Settings
from srvdb.errors import DimensionError, InvalidInputError

__all__ = ["Database", "open"]

_MAX_DIMENSION = 65_536


class Database(Changing, Lifecycle, Searching, Verifying):
    """A vector database in a directory.

    Opens the directory, or creates it. Safe to use from any number of threads; one process writes
    at a time. Close it with ``close()`` or use it in a ``with`` block. In the examples ``db``
    holds three rows, ``a``, ``b`` and ``c``, of two dimensions.

    Parameters
    ----------
    path : str or os.PathLike
        The directory.
    dimension : int, optional
        Components of a vector, 1 to 65,536; that of the first batch when left out.
    mode : {"auto", "flat", "hnsw", "sq8"}, optional
        How rows are searched: exactly while that is the faster and over a graph from then on
        (``"auto"``, what a new database gets), always exactly, over the graph, or over 8-bit codes.
    metric : {"cosine", "ip", "l2"}, optional
        What a score is: cosine similarity (what a new database gets), the inner product, or minus
        the squared Euclidean distance.
    durability : {"os", "memory", "disk"}, optional
        What a write has reached when it returns: the operating system (survives the end of the
        process), this process only, or the disk (survives loss of power).
    read_only : bool, default False
        Read beside a writer, as of its last checkpoint.
    config : dict or path, optional
        Settings; see :mod:`srvdb.config`.
    m, ef_construction : int, optional
        Links a row of the graph aims for, and candidates while it is built; 16 and 200 in a new
        database.
    indexed_fields : list of str or "all", optional
        Fields of the metadata that filters answer without reading documents, keys joined by dots:
        ``["year", "author.name"]``. In a new database ``"all"``: each as it first appears, up to
        64. Filters on other fields work, more slowly. A change makes the index anew, in the
        background.
    ef : int, optional
        Candidates of a graph search that names none; 100 unless told.
    recall : float, optional
        In the place of ``ef``: share of the k best rows that searches are to find; see ``search``.
    memory_limit : int or str, optional
        Bytes of memory that the database may take in this process beyond the page cache, at least
        64 MiB: a number, or text such as ``"512MB"``. With less room than the links need while they
        are made they lie in a file without a name. None unless told: no limit.
    filter_cache : int, optional
        Bytes that the kept answers of filters may take; 16 MiB unless told.
    prefault : bool, optional
        Bring codes and links into memory in the background when it is opened.
    lock_memory : bool, optional
        Keep them there (``mlock``); an error where the system does not permit it.
    buffer_size, auto_flush_threshold : int, optional
        Bytes and rows that may wait in the append buffer.
    background : bool, optional
        Whether rows are linked into the graph in the background.
    auto_compact : bool, float or dict, optional
        Compact unasked when this share of the rows is gone and takes at least 64 MiB: True (unless
        told) is a share of a half, False never; a dict has ``"share"`` and ``"bytes"``.
    snapshot_every : str, float or timedelta, optional
        Make a snapshot whenever so much time has passed and something has changed: ``"1h"``,
        ``"15m"``, ``"7d"``, or seconds; 0 (what is in force unless told): none.
    keep : int, optional
        How many of those snapshots stay, the newest; 24 unless told.
    create : bool, default True
        Whether to create what is not there.

    Raises
    ------
    InvalidInputError, DimensionError
        An option that is out of range, or that differs from what is stored with the database.
    LockedError
        Another process has it open for writing; ``.pid`` names it.
    VersionError
        Written by a version that this one cannot read.
    NotFoundError
        Absent, and not to be created.

    Notes
    -----
    Dimension, metric, mode, ``m``, ``ef_construction`` and ``indexed_fields`` are stored; leave
    them out to take what is stored.

    Examples
    --------
    >>> with srvdb.open(path, dimension=2) as new:
    ...     new.add(["x", "y"], [[1, 0], [0, 1]], [{"n": 1}, None])
    ...     new.search([1, 0.1], k=1).ids
    2
    ['x']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dimension: int | None = None,
        mode: str | None = None,
        *,
        metric: str | None = None,
        durability: str | None = None,
        read_only: bool = False,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        indexed_fields: Sequence[str] | str | None = None,
        ef: int | None = None,
        recall: float | None = None,
        memory_limit: int | str | None = None,
        filter_cache: int | None = None,
        prefault: bool | None = None,
        lock_memory: bool | None = None,
        buffer_size: int | None = None,
        auto_flush_threshold: int | None = None,
        background: bool | None = None,
        auto_compact: bool | float | Mapping[str, float] | None = None,
        snapshot_every: str | float | timedelta | None = None,
        keep: int | None = None,
        create: bool = True,
    ) -> None:
        self.path = os.fspath(path)
        self.settings = Settings.resolve(
            self.path,
            config,
            buffer_size=buffer_size,
            auto_flush_threshold=auto_flush_threshold,
            durability=durability,
            ef=ef,
            recall=recall,
            memory_limit=memory_limit,
            filter_cache=filter_cache,
            prefault=prefault,
            lock_memory=lock_memory,
            background=background,
            auto_compact=auto_compact,
            snapshot_every=snapshot_every,
            keep=keep,
        )
        if dimension is not None:
            dimension = as_count(dimension, "dimension", 1, _MAX_DIMENSION)
        if m is not None:
            m = as_count(m, "m", 2, 128)
        if ef_construction is not None:
            ef_construction = as_count(ef_construction, "ef_construction", 1, 100_000)
        wanted = as_indexed_fields(indexed_fields) if indexed_fields is not None else None
        compacting = self.settings.auto_compact
        self._core = CoreDatabase.open(
            os.fsencode(self.path),
            dimension=dimension,
            metric=metric,
            mode=as_mode(mode),
            m=m,
            ef_construction=ef_construction,
            ef=self.settings.ef,
            durability=self.settings.durability,
            read_only=bool(read_only),
            create=bool(create),
            buffer_bytes=self.settings.buffer_size,
            flush_rows=self.settings.auto_flush_threshold,
            background=self.settings.background,
            auto_compact_share=compacting.share if compacting else 0.0,
            auto_compact_bytes=compacting.bytes if compacting else 0,
            snapshot_every_ms=round(self.settings.snapshot_every * 1000),
            snapshot_keep=self.settings.keep,
            recall=self.settings.recall or 0.0,
            memory_limit=self.settings.memory_limit or 0,
            filter_cache_bytes=self.settings.filter_cache,
            prefault=self.settings.prefault,
            lock_memory=self.settings.lock_memory,
            index_all_fields=indexed_fields is not None and wanted is None,
            indexed_fields=wanted,
        )
        self._close_at_exit()

    @classmethod
    def new_hnsw(
        cls,
        path: str | os.PathLike[str],
        dimension: int = 1536,
        m: int = 16,
        ef_construction: int = 200,
        ef_search: int = 50,
    ) -> Database:
        """Open a database of mode ``"hnsw"``; kept from earlier versions.

        Examples
        --------
        >>> Database.new_hnsw(path, 2, m=8).stats()["mode"]
        'hnsw'
        """
        return cls(path, dimension, "hnsw", m=m, ef_construction=ef_construction, ef=ef_search)

    @classmethod
    def new_scalar_quantized(
        cls,
        path: str | os.PathLike[str],
        dimension: int,
        training_vectors: npt.ArrayLike | Sequence[Sequence[float]],
    ) -> Database:
        """Open a database of mode ``"sq8"``; kept from earlier versions.

        Parameters
        ----------
        path : str or os.PathLike
            The directory.
        dimension : int
            Components of a vector.
        training_vectors : array_like, shape (n, dimension)
            Checked, and then not needed: the codes are fitted to the first rows that are added.

        Raises
        ------
        InvalidInputError
            No training vectors.
        DimensionError
            Training vectors of another dimension.
        """
        rows = as_matrix(training_vectors, "training_vectors")
        if not len(rows):
            raise InvalidInputError("training_vectors must not be empty")
        database = cls(path, dimension, "sq8")
        try:
            database._check_dimension(rows, "training vector")
        except Exception:
            database.close()
            raise
        return database

    # ---- write -----------------------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
        *,
        expires_at: Moments = None,
    ) -> int:
        """Add rows, all of them or none.

        Parameters
        ----------
        ids : sequence of str
            1 to 511 bytes of UTF-8 each.
        embeddings : array_like, shape (n, dimension)
            Any float or integer dtype; a float32 C-contiguous array is read in place.
        metadatas : sequence of dict, str or None, optional
            A dict, or a JSON object as text, for each row; at most 1 MiB each.
        expires_at : datetime, timedelta, float or NEVER, or a sequence of these, optional
            From when on rows are not returned any more: one moment for all, or one for each; a
            datetime with a time zone, a timedelta from now, or seconds since 1970. Kept to the
            millisecond. None: never.

        Returns
        -------
        int
            Rows added.

        Raises
        ------
        DuplicateIdError
            An id exists already (soft-deleted ones do), or stands twice in the batch.
        DimensionError
            Vectors of another dimension.
        InvalidInputError
            NaN or infinity, a bad id, broken JSON, lengths that differ, or more than 100,000 rows
            or 64 MiB (see ``add_batch``).

        Examples
        --------
        >>> db.add(ids=["d"], embeddings=[[0.0, 2.0]], metadatas=['{"year": 2026}'])
        1
        """
        if expires_at is None:
            written = self._core.write_one(ids, embeddings, metadatas, False)
            if written is not None:
                return written
        ids, rows, metadatas = self._check(ids, embeddings, metadatas)
        return self._core.write(ids, rows, metadatas, False, as_expiries(expires_at, len(ids)))

    def upsert(
        self,
        ids: Sequence[str],
        embeddings: npt.ArrayLike | Sequence[Sequence[float]],
        metadatas: Sequence[Metadata] | None = None,
        *,
        expires_at: Moments = None,
    ) -> int:
        """Add rows, replacing those whose ids exist; all of them or none.

        Of several equal ids in the batch the last wins. A row that is replaced takes nothing with
        it, neither metadata nor expiry; a soft-deleted one becomes live. Parameters and errors are
        those of ``add``, without DuplicateIdError.

        Returns
        -------
        int
            Rows in the batch.

        Examples
        --------
        >>> db.upsert(["a"], [[0.5, 0.5]], [{"year": 2027}])
        1
        >>> db.get("a"), len(db)
        ('{"year": 2027}', 3)
        """
        if expires_at is None:
            written = self._core.write_one(ids, embeddings, metadatas, True)
            if written is not None:
                return written
        ids, rows, metadatas = self._check(ids, embeddings, metadatas)
        return self._core.write(ids, rows, metadatas, True, as_expiries(expires_at, len(ids)))

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
        """Add any number of rows, in pieces that are each applied wholly or not at all.

        Parameters
        ----------
        ids : sequence of str, or iterable
            With ``embeddings``: as for ``add``, of any length. Without: an iterable of
            ``(id, vector[, metadata])``, or of pieces ``(ids, embeddings[, metadatas])``.
        embeddings, metadatas : optional
            As for ``add``.
        expires_at : optional
            As for ``add``; one moment for all rows when they come from an iterable.
        upsert : bool, default False
            Replace rows whose ids exist, instead of refusing them.
        progress : bool or callable, default False
            True draws a bar on stderr; a callable gets ``(rows done, rows in all or None)``.
        threads : int, default 1
            With two or more (0: all processors) input that is not float32 yet is converted beside
            the writing.

        Returns
        -------
        int
            Rows added.

        Raises
        ------
        SrvDBError
            As ``add``. Its attribute ``added`` says how many rows were added before; so it does
            on a KeyboardInterrupt. The rows of the refused piece are not.

        Examples
        --------
        >>> db.add_batch((f"row-{i}", [i, 1.0], {"i": i}) for i in range(1000))
        1000
        """
        counter = Counter()
        threads = as_count(threads, "threads", 0, MAX_THREADS)
        total = _batches.input_length(ids) if embeddings is not None else None
        moments = None
        if expires_at is not None:
            ids = ids if embeddings is None else as_ids(ids)
            moments = as_expiries(expires_at, None if embeddings is None else len(ids))
        try:
            with Progress(progress, "adding", total) as bar:
                for piece in _batches.pieces(ids, embeddings, metadatas, threads):
                    self._write_piece(piece, upsert, moments, counter, bar)
        except BaseException as error:
            _batches.note_added(error, counter.rows)
            raise
        return counter.rows

    def _write_piece(
        self,
        piece: _batches.Piece,
        upsert: bool,
        moments: Milliseconds | None,
        counter: Counter,
        bar: Progress,
    ) -> None:
        n = len(piece.ids)
        if not n:
            return
        check_lengths(piece.ids, piece.rows, piece.metadatas)
        window = min(_batches.WINDOW_ROWS, self._core.chunk_rows(max(1, piece.rows.shape[1])))
        moments = part_of(moments, slice(piece.first_item, piece.first_item + n))
        start = 0
        while start < n:
            start += self._core.write_window(
                piece.ids,
                piece.rows,
                piece.metadatas,
                upsert,
                start,
                window,
                _batches.WINDOW_BYTES,
                piece.first_item,
                counter,
                moments,
            )
            bar.update(counter.rows)

    # ---- keep ------------------------------------------------------------------------------------

    def persist(self) -> None:
        """Return when everything written so far is on disk, whatever the durability."""
        self._core.persist()

    def close(self) -> None:
        """Wait for running calls, write what waits, and release the directory; twice is fine."""
        self._core.close()

    # ---- index -----------------------------------------------------------------------------------

    def optimize(self, *, progress: bool | Report = False, threads: int = 0) -> None:
        """Wait until every row that is there now is linked into the graph.

        Searches are complete without it; it makes them fast at once. Where rows have come or gone
        since, it also measures what ``recall=`` goes by. Ctrl-C stops it and keeps what is linked.

        Parameters
        ----------
        progress : bool or callable, default False
            True draws a bar on stderr; a callable gets ``(rows done, rows in all)``.
        threads : int, default 0
            Threads to use; 0 for all processors.

        Examples
        --------
        >>> db.optimize()
        """
        threads = as_count(threads, "threads", 0, MAX_THREADS)
        with Progress(progress, "linking") as bar:
            self._core.optimize(threads, bar.update if bar.wanted else None)

    def set_mode(self, mode: str) -> None:
        """Change how rows are searched; stored with the database.

        Parameters
        ----------
        mode : {"auto", "flat", "hnsw", "sq8"}
            See the class.
        """
        self._core.set_mode(as_mode(mode) or "auto")

    def set_ef_search(self, ef: int) -> None:
        """Change the width of graph searches that name no ``ef``; for this handle only."""
        self._core.set_ef(as_count(ef, "ef", 1, MAX_EF))

    def set_recall(self, recall: float) -> None:
        """Change the recall of searches that name neither that nor ``ef``; for this handle only.

        Examples
        --------
        >>> db.set_recall(0.95)
        >>> db.stats()["recall"]
        0.95
        """
        self._core.set_recall(as_recall(recall))

    # ---- arguments -------------------------------------------------------------------------------

    def _check(
        self, ids: Any, embeddings: Any, metadatas: Any
    ) -> tuple[list[str] | tuple[str, ...], Floats, list[Metadata] | tuple[Metadata, ...] | None]:
        ids = as_ids(ids)
        rows = as_matrix(embeddings, "embeddings")
        metadatas = as_metadatas(metadatas)
        check_lengths(ids, rows, metadatas)
        return ids, rows, metadatas

    def _check_dimension(self, rows: Floats, name: str) -> None:
        dimension = self.stats()["dimension"]
        if rows.shape[1] != dimension:
            raise DimensionError(f"expected {name}s of dimension {dimension}, got {rows.shape[1]}")


def open(  # noqa: A001 (srvdb.open is the front door)
    path: str | os.PathLike[str],
    *,
    dimension: int | None = None,
    metric: str | None = None,
    mode: str | None = None,
    durability: str | None = None,
    read_only: bool = False,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    m: int | None = None,
    ef_construction: int | None = None,
    indexed_fields: Sequence[str] | str | None = None,
    ef: int | None = None,
    recall: float | None = None,
    memory_limit: int | str | None = None,
    filter_cache: int | None = None,
    prefault: bool | None = None,
    lock_memory: bool | None = None,
    buffer_size: int | None = None,
    auto_flush_threshold: int | None = None,
    background: bool | None = None,
    auto_compact: bool | float | Mapping[str, float] | None = None,
    snapshot_every: str | float | timedelta | None = None,
    keep: int | None = None,
    create: bool = True,
) -> Database:
    """Open a database, or create it; the parameters are those of :class:`Database`.

    Examples
    --------
    >>> with srvdb.open(path, metric="l2") as new:
    ...     new.add(["x"], [[3.0, 4.0]])
    ...     new.search([0.0, 0.0])[0].distance
    1
    25.0
    """
    return Database(
        path,
        dimension,
        mode,
        metric=metric,
        durability=durability,
        read_only=read_only,
        config=config,
        m=m,
        ef_construction=ef_construction,
        indexed_fields=indexed_fields,
        ef=ef,
        recall=recall,
        memory_limit=memory_limit,
        filter_cache=filter_cache,
        prefault=prefault,
        lock_memory=lock_memory,
        buffer_size=buffer_size,
        auto_flush_threshold=auto_flush_threshold,
        background=background,
        auto_compact=auto_compact,
        snapshot_every=snapshot_every,
        keep=keep,
        create=create,
    )
