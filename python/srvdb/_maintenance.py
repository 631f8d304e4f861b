"""Looking for damage in the files of a database, and saving what is sound."""

from __future__ import annotations

import dataclasses
import os
from typing import Literal

from srvdb import _native
from srvdb._progress import Progress, Report

__all__ = ["Problem", "RepairItem", "RepairReport", "VerifyReport", "Verifying", "repair", "verify"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in a file that is not what was written.

    Attributes
    ----------
    file : str
        Its name, relative to the database.
    offset : int
        Where in the file, in bytes.
    what : str
        What is wrong.
    kind : {"damage", "derived", "unfinished"}
        ``"derived"``: codes or links, which are made again from the rows. ``"unfinished"``: what a
        crash leaves behind and the next writer clears away; nothing is lost.
    """

    file: str
    offset: int
    what: str
    kind: Literal["damage", "derived", "unfinished"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.file} at {self.offset}: {self.what}"


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """What :func:`verify` found.

    Attributes
    ----------
    problems : list of Problem
        At most 10,000 of them.
    omitted : int
        Further ones.
    rows, files, snapshots : int
        What was looked at: rows of the database, files, snapshots.
    deep : bool
        Whether everything was read.
    """

    problems: list[Problem]
    omitted: int
    rows: int
    files: int
    snapshots: int
    deep: bool

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged; what a crash leaves unfinished is no damage."""
        return not self.omitted and all(found.kind == "unfinished" for found in self.problems)


@dataclasses.dataclass(frozen=True)
class RepairItem:
    """Something that could not be saved, or was saved without proof.

    Attributes
    ----------
    kind : {"lost", "doubtful"}
        ``"doubtful"``: saved, but it may be deleted, replaced or incomplete.
    id : str or None
        Whose; None when that is not known, or several are meant.
    row : int or None
        Its row in the damaged database.
    what : str
        What happened to it.
    """

    kind: Literal["lost", "doubtful"]
    id: str | None
    row: int | None
    what: str

    def __str__(self) -> str:
        whose = "" if self.id is None else f"{self.id!r}: "
        where = f"row {self.row}: " if self.row is not None and self.id is None else ""
        return f"{self.kind}: {whose}{where}{self.what}"


@dataclasses.dataclass(frozen=True)
class RepairReport:
    """What :func:`repair` saved, and what it could not.

    Attributes
    ----------
    saved : int
        Ids in the new database, soft-deleted ones included.
    deleted : int
        Of them, how many are soft-deleted.
    sequence : int
        Number of the last batch in it.
    items : list of RepairItem
        What is lost or doubtful; at most a million.
    omitted : int
        Further ones.
    problems : list of Problem
        What was found in the files on the way.
    """

    saved: int
    deleted: int
    sequence: int
    items: list[RepairItem]
    omitted: int
    problems: list[Problem]

    @property
    def is_complete(self) -> bool:
        """Whether everything was saved, and proven."""
        return not self.items and not self.omitted


def verify(
    path: str | os.PathLike[str], *, deep: bool = False, progress: bool | Report = False
) -> VerifyReport:
    """Look at the files of a database and tell everything that is not what was written.

    Goes on after what it finds, writes nothing, and works on a database that cannot be opened as
    well as beside one that is being written (as of its last checkpoint).

    Parameters
    ----------
    path : str or os.PathLike
        The directory.
    deep : bool, default False
        Read everything: each row, id, code, link, page and value against its checksum, ids against
        rows, columns against metadata, and snapshots likewise. Otherwise headers, lengths, the log
        and the state.
    progress : bool or callable, default False
        A bar, or a callable that gets rows done and rows in all.

    Returns
    -------
    VerifyReport
        ``is_sound`` when nothing is damaged.

    Raises
    ------
    NotFoundError
        There is no database.
    VersionError
        Written by a version that this one cannot read.
    StorageError
        The files cannot be read.

    Examples
    --------
    >>> report = srvdb.verify(db.path, deep=True)
    >>> report.is_sound, report.problems
    (True, [])
    """
    with Progress(progress, "verifying") as bar:
        problems, omitted, rows, files, snapshots = _native.verify(
            os.fsencode(path), bool(deep), bar.update if bar.wanted else None
        )
    found = [Problem(*problem) for problem in problems]
    return VerifyReport(found, omitted, rows, files, snapshots, bool(deep))


def repair(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    metric: str | None = None,
    progress: bool | Report = False,
) -> RepairReport:
    """Save what is sound of a damaged database into a new one.

    The damaged directory is only read. Rows, ids, metadata, expiry, soft deletion, the change log
    and the log of the last batches are taken over as far as their checksums hold.

    Parameters
    ----------
    path : str or os.PathLike
        The damaged database; nobody may have it open for writing.
    out : str or os.PathLike
        Where the new one is made: a directory that is absent or empty.
    metric : {"cosine", "ip", "l2"}, optional
        Used when nothing that is left tells it.
    progress : bool or callable, default False
        A bar, or a callable that gets rows done and rows in all.

    Returns
    -------
    RepairReport
        With a list of all that was lost, or was saved and may be outdated.

    Raises
    ------
    NotFoundError
        There is no database, or nothing is left that says what its rows are.
    InvalidInputError
        ``out`` exists and is not empty.
    LockedError
        A writer has it open.

    Examples
    --------
    >>> db.close()
    >>> report = srvdb.repair(db.path, path)
    >>> report.saved, report.is_complete
    (3, True)
    """
    with Progress(progress, "repairing") as bar:
        saved, deleted, sequence, items, omitted, problems = _native.repair(
            os.fsencode(path), os.fsencode(out), metric, bar.update if bar.wanted else None
        )
    return RepairReport(
        saved,
        deleted,
        sequence,
        [RepairItem(*item) for item in items],
        omitted,
        [Problem(*problem) for problem in problems],
    )


class Verifying:
    """The half of :class:`Database` that looks at its own files."""

    path: str

    def verify(self, *, deep: bool = False, progress: bool | Report = False) -> VerifyReport:
        """Look at the database's files and tell everything that is not what was written.

        As of the last checkpoint: call ``persist()`` before to have all of it looked at. Searches
        and writes go on. See :func:`srvdb.verify`.

        Parameters
        ----------
        deep : bool, default False
            Read everything, not only headers, lengths, the log and the state.
        progress : bool or callable, default False
            A bar, or a callable that gets rows done and rows in all.

        Returns
        -------
        VerifyReport
            ``is_sound`` when nothing is damaged.

        Examples
        --------
        >>> db.verify().is_sound
        True
        """
        return verify(self.path, deep=deep, progress=progress)
