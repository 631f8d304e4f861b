"""The keeping half of :class:`Database`: snapshots, backups, and readers that move on."""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from srvdb._native import CoreDatabase
from srvdb.errors import InvalidInputError

if TYPE_CHECKING:
    from srvdb.database import Database

__all__ = ["Lifecycle", "Snapshot", "restore"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A named state of a database that was kept.

    Attributes
    ----------
    name : str
        What it is called.
    time : datetime
        When it was made, in UTC.
    vectors : int
        Rows that a search of it can return.
    deleted : int
        Rows that it holds besides, deleted, soft-deleted or replaced.
    own_bytes : int
        Bytes of files that nothing else shares: what dropping it gives back now.
    automatic : bool
        Whether ``snapshot_every`` made it; only such ones are dropped again by themselves.
    """

    name: str
    time: datetime
    vectors: int
    deleted: int
    own_bytes: int
    automatic: bool = False


def _to_snapshot(values: tuple[str, int, int, int, int, bool]) -> Snapshot:
    name, time_us, vectors, deleted, own_bytes, automatic = values
    time = _EPOCH + timedelta(microseconds=time_us)
    return Snapshot(name, time, vectors, deleted, own_bytes, automatic)


def _as_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInputError(f"name must be a str, got {type(name).__name__}")
    return name


def _is_compressed(compress: object) -> bool:
    if compress not in (None, "zstd"):
        raise InvalidInputError(f"compress must be None or 'zstd', got {compress!r}")
    return compress is not None


class Lifecycle:
    """Methods that keep states of the database, and go back to them."""

    _core: CoreDatabase

    def create_snapshot(self, name: str | None = None) -> Snapshot:
        """Keep the present state under a name.

        Searches and writes go on meanwhile. It lies in the directory of the database and shares
        unchanged bytes with it: it costs a copy of the metadata, and later what is compacted or
        replaced.

        Parameters
        ----------
        name : str, optional
            1 to 100 letters, digits, ``.``, ``_`` or ``-``, not beginning with a dot;
            ``snapshot_YYYYMMDD_HHMMSS`` (UTC) when left out.

        Returns
        -------
        Snapshot
            Its name, time and size.

        Raises
        ------
        DuplicateIdError
            There is one of this name.
        InvalidInputError
            A name that cannot be.

        Examples
        --------
        >>> db.create_snapshot("before").vectors
        3
        >>> db.delete(["a"])
        1
        >>> with db.open_snapshot("before") as before:
        ...     "a" in before, "a" in db
        (True, False)
        """
        return _to_snapshot(self._core.create_snapshot("" if name is None else _as_name(name)))

    def list_snapshots(self) -> list[Snapshot]:
        """Return the snapshots there are, the oldest first.

        Examples
        --------
        >>> db.create_snapshot("monday").deleted
        0
        >>> [(kept.name, kept.vectors) for kept in db.list_snapshots()]
        [('monday', 3)]
        """
        return [_to_snapshot(values) for values in self._core.list_snapshots()]

    def open_snapshot(self, name: str, **settings: Any) -> Database:
        """Open a snapshot as a database of its own, read-only.

        Parameters
        ----------
        name : str
            Of the snapshot.
        **settings
            As for ``srvdb.open``, ``ef`` for example.

        Returns
        -------
        Database
            To be closed like any other. It can be searched and backed up, not written.

        Raises
        ------
        NotFoundError
            There is no such snapshot.

        Examples
        --------
        >>> db.create_snapshot("past").name
        'past'
        >>> with db.open_snapshot("past") as past:
        ...     past.search([1.0, 0.0], k=1).ids
        ['a']
        """
        from srvdb.database import Database  # it derives from this class

        path = self._core.snapshot_path(_as_name(name))
        return Database(path, read_only=True, **settings)

    def restore_snapshot(self, name: str, *, keep_current: bool = True) -> None:
        """Put the state of a snapshot in the place of the present one, wholly or not at all.

        Searches go on meanwhile, and writes but for a moment at the end. Sequence numbers and the
        change log go on. The snapshot stays.

        Parameters
        ----------
        name : str
            Of the snapshot.
        keep_current : bool, default True
            Make the state before a snapshot, ``before_restore_YYYYMMDD_HHMMSS``.

        Raises
        ------
        NotFoundError
            There is no such snapshot.

        Examples
        --------
        >>> db.create_snapshot("good").name
        'good'
        >>> db.delete(["a", "b"])
        2
        >>> db.restore_snapshot("good")
        >>> list(db.ids()), len(db.list_snapshots())
        (['a', 'b', 'c'], 2)
        """
        self._core.restore_snapshot(_as_name(name), bool(keep_current))

    def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot; who has it open can go on reading it.

        Raises
        ------
        NotFoundError
            There is no such snapshot.

        Examples
        --------
        >>> kept = db.create_snapshot("old")
        >>> db.drop_snapshot("old")
        >>> db.list_snapshots()
        []
        """
        self._core.drop_snapshot(_as_name(name))

    def backup(self, path: str | os.PathLike[str], *, compress: str | None = None) -> None:
        """Write a full copy of the present state, without its snapshots, while it is in use.

        Parameters
        ----------
        path : str or os.PathLike
            A directory that is new or empty; with ``compress`` a file that is new.
        compress : {None, "zstd"}, optional
            None: a directory that opens as a database. ``"zstd"``: one file with checksums (a tar
            archive), for :func:`srvdb.restore`.

        Raises
        ------
        InvalidInputError
            The target exists.

        Examples
        --------
        >>> db.backup(path)
        >>> with srvdb.open(path) as copy:
        ...     len(copy)
        3
        >>> db.backup(path + ".tar.zst", compress="zstd")
        >>> srvdb.restore(path + ".tar.zst", path + "-restored")
        """
        self._core.backup(os.fsencode(path), _is_compressed(compress))

    def refresh(self) -> int:
        """Move a read-only database to the newest state that a reader may see.

        A database opened with ``read_only=True`` beside a writer shows one moment, the last
        checkpoint, until it is refreshed. Results obtained before stay as they are. On a database
        that is open for writing in this process it does nothing.

        Returns
        -------
        int
            Sequence number of the last batch that it shows now.

        Examples
        --------
        >>> db.refresh() == db.stats()["sequence"]
        True
        """
        return self._core.refresh()


def restore(file: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Unpack a compressed backup into a directory, which opens as a database then.

    Everything is checked on the way; when it fails nothing is left.

    Parameters
    ----------
    file : str or os.PathLike
        What ``Database.backup(file, compress="zstd")`` wrote.
    path : str or os.PathLike
        A directory that is new or empty.

    Raises
    ------
    CorruptionError
        The file is damaged.
    InvalidInputError
        The target exists and is not empty, or the file is no backup.
    NotFoundError
        There is no such file.

    Examples
    --------
    >>> db.backup(path + ".tar.zst", compress="zstd")
    >>> srvdb.restore(path + ".tar.zst", path)
    >>> with srvdb.open(path) as restored:
    ...     list(restored.ids())
    ['a', 'b', 'c']
    """
    CoreDatabase.restore_backup(os.fsencode(file), os.fsencode(path))
