"""Every exception and warning of srvdb, in one tree.

Each message says what was expected, what came, and which item, file or setting it is about.
Classes that have an everyday counterpart inherit from it, so that ``except ValueError`` and
``except OSError`` in programs that know nothing of srvdb go on working.
"""

from __future__ import annotations

import re

__all__ = [
    "ClosedError",
    "CorruptionError",
    "DimensionError",
    "DuplicateIdError",
    "FilterError",
    "InterruptedCallError",
    "InvalidInputError",
    "LockedError",
    "NotFoundError",
    "ReadOnlyError",
    "SrvDBError",
    "SrvDBWarning",
    "StorageError",
    "VersionError",
]


class SrvDBError(Exception):
    """Base of all errors of srvdb.

    Attributes
    ----------
    added : int or None
        Rows that ``add_batch`` had added when it was refused; None for every other call, which
        applies all of its batch or nothing.
    """

    added: int | None = None


class InvalidInputError(SrvDBError, ValueError):
    """An argument that no database would take: NaN, a bad id, broken JSON, an unknown setting."""


class DimensionError(SrvDBError, ValueError):
    """A vector or an option whose dimension is not the database's."""


class DuplicateIdError(SrvDBError, ValueError):
    """``add`` of an id that exists; ``upsert`` replaces instead."""


class NotFoundError(SrvDBError, KeyError):
    """Something that must exist does not.

    Attributes
    ----------
    ids : tuple of str
        All the ids that an update did not find, where the message names the first of them; empty
        when it is not about ids.
    """

    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the message; a KeyError would show its repr."""
        return str(self.args[0]) if self.args else ""


class FilterError(SrvDBError, ValueError):
    """A filter expression that cannot be read."""


class LockedError(SrvDBError, BlockingIOError):
    """Another process has the database open for writing.

    Attributes
    ----------
    pid : int or None
        The process that holds it, where it is known.
    """

    @property
    def pid(self) -> int | None:
        """Process id of the holder."""
        found = re.search(r"\bpid (\d+)", str(self))
        return int(found.group(1)) if found else None


class ReadOnlyError(SrvDBError):
    """A write to a database that was opened read-only, or became so after its disk failed."""


class ClosedError(SrvDBError):
    """A database used after ``close()``, or in the child of a fork."""


class CorruptionError(SrvDBError):
    """Bytes on disk that cannot be what was written; names the file and the offset."""


class VersionError(SrvDBError):
    """A directory written by a version that this one cannot read; it is left untouched."""


class StorageError(SrvDBError, OSError):
    """The operating system refused an operation; ``errno`` says why."""


class InterruptedCallError(SrvDBError):
    """A call that was stopped from another thread before it was done."""


class SrvDBWarning(UserWarning):
    """Something that went on without failing a call, such as a damaged graph that is rebuilt."""
