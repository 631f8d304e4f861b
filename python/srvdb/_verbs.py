"""What :class:`Database` and :class:`ShardedDatabase` do alike."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

from srvdb._filters import Where
from srvdb.errors import ClosedError, InvalidInputError, SrvDBError
from srvdb.hits import to_html

_Self = TypeVar("_Self", bound="Verbs")
_PAGE = 10_000

#: Databases to close when Python ends, so that a restart finds nothing to replay.
_open: weakref.WeakSet[Verbs] = weakref.WeakSet()

_MODES = {"flat": "flat", "hnsw": "hnsw", "sq8": "sq8", "auto": "auto", "scalar": "sq8"}


def as_mode(mode: object) -> str | None:
    """Return a mode's name as the core knows it; None stays None.

    Raises
    ------
    InvalidInputError
        A name that is unknown.
    """
    if mode is None:
        return None
    name = _MODES.get(mode.lower()) if isinstance(mode, str) else None
    if name is None:
        hint = ""
        if isinstance(mode, str) and mode.lower() in ("pq", "product", "ivf"):
            hint = "; for what 'pq' and 'ivf' were used for, take 'sq8' (small) or 'hnsw' (fast)"
        raise InvalidInputError(f"mode must be 'flat', 'hnsw', 'sq8' or 'auto', got {mode!r}{hint}")
    return name


class Verbs(ABC):
    """Counting, iterating, closing and showing."""

    path: str

    @abstractmethod
    def count(self, where: Where | None = None) -> int:
        """Return the number of rows."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Return what the database says of itself."""

    @abstractmethod
    def close(self) -> None:
        """Close."""

    @abstractmethod
    def contains(self, id: str) -> bool:
        """Return whether a row with this id exists."""

    @abstractmethod
    def _page_of_ids(self, after: str, limit: int) -> list[str]: ...

    def ids(self) -> Iterator[str]:
        """Iterate over all ids, in id order (code points).

        Reads page by page: ids that are added or deleted meanwhile may or may not be seen.

        Examples
        --------
        >>> list(db.ids())
        ['a', 'b', 'c']
        """
        after = ""
        while page := self._page_of_ids(after, _PAGE):
            yield from page
            after = page[-1]

    def get_all_ids(self) -> list[str]:
        """Return all ids as a list, in id order."""
        return list(self.ids())

    def info(self) -> str:
        """Return one line about the database, as earlier versions of srvdb wrote it.

        ``stats()`` gives all numbers as a dict. Soft-deleted rows are counted apart when there are
        any.

        Examples
        --------
        >>> db.info()
        "SrvDB(dimension=2, mode='auto', vectors=3)"
        """
        stats = self.stats()
        deleted = f", deleted={stats['soft_deleted']}" if stats["soft_deleted"] else ""
        return (
            f"SrvDB(dimension={stats['dimension']}, mode={stats['mode']!r}, "
            f"vectors={stats['count']}{deleted})"
        )

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # an empty database is a database

    def __contains__(self, id: object) -> bool:
        return self.contains(id)  # type: ignore[arg-type]  # refuses what is no str

    def __iter__(self) -> Iterator[str]:
        return self.ids()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name = f"srvdb.{type(self).__name__}({self.path!r}"
        try:
            stats = self.stats()
        except ClosedError:
            return f"{name}, closed)"
        except SrvDBError as error:
            return f"{name}, {type(error).__name__})"
        deleted = f", soft_deleted={stats['soft_deleted']}" if stats["soft_deleted"] else ""
        return (
            f"{name}, dimension={stats['dimension']}, metric={stats['metric']!r}, "
            f"mode={stats['mode']!r}, count={stats['count']}{deleted})"
        )

    def _repr_html_(self) -> str:
        try:
            stats = self.stats()
        except SrvDBError:
            return to_html(("srvdb", self.path), [("closed", "")])
        shown = ("count", "dimension", "metric", "mode", "searching", "unlinked_rows", "durability")
        rows = [(name, str(stats[name])) for name in shown if name in stats]
        if stats["soft_deleted"]:
            rows.insert(1, ("soft_deleted", str(stats["soft_deleted"])))
        if "disk_bytes" in stats:
            rows.append(("on disk", f"{stats['disk_bytes'] / 2**20:,.1f} MiB"))
        return to_html(("srvdb", self.path), rows)

    def _close_at_exit(self) -> None:
        _open.add(self)


@atexit.register
def _close_all() -> None:
    for database in list(_open):
        with contextlib.suppress(SrvDBError):
            database.close()
