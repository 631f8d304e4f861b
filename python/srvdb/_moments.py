"""Moments in time: what callers pass as ``expires_at``, ``since`` and ``before``.

The core counts milliseconds (expiry) and microseconds (change log) since 1970, UTC. A datetime
without a time zone is refused: it means another moment on every machine.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from srvdb._arrays import as_count
from srvdb._native import CoreDatabase, now_us
from srvdb.errors import InvalidInputError

__all__ = ["NEVER", "Moment", "Never"]


class Never(enum.Enum):
    """The type of :data:`NEVER`."""

    NEVER = "never"

    def __repr__(self) -> str:
        return "srvdb.NEVER"


#: As ``expires_at``: the row does not expire. In an update this removes an expiry, where None
#: leaves it as it is.
NEVER: Final = Never.NEVER

Moment: TypeAlias = datetime | timedelta | float | Never | None
#: One moment for all rows, or one for each.
Moments: TypeAlias = Moment | Iterable[Moment]
Milliseconds: TypeAlias = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LAST_MS = 253_402_300_799_999  # the end of the year 9999, the last that a datetime can name
_UNCHANGED = -1
_LAST_SEQUENCE = 2**63 - 1


def as_milliseconds(value: object, label: str) -> int:
    """Return a moment as milliseconds since 1970, 0 for NEVER.

    Raises
    ------
    InvalidInputError
        Something that names no moment, or one that is not between 1970 and 9999.
    """
    if value is NEVER:
        return 0
    if isinstance(value, datetime):
        moment = microseconds_of(value, label) // 1000
    elif isinstance(value, timedelta):
        moment = (now_us() + value // _MICROSECOND) // 1000
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        moment = int(value) * 1000
    elif isinstance(value, (float, np.floating)) and math.isfinite(value):
        moment = math.floor(float(value) * 1000)
    else:
        raise InvalidInputError(
            f"{label} must be a datetime with a time zone, a timedelta from now, seconds since "
            f"1970 or srvdb.NEVER, got {type(value).__name__} ({value!r})"
        )
    if 0 < moment <= _LAST_MS:
        return moment
    hint = "; numbers are seconds, not milliseconds" if moment > 0 else "; srvdb.NEVER for never"
    raise InvalidInputError(f"{label} must lie between 1970 and 9999, got {value!r}{hint}")


def as_expiries(value: object, n: int | None) -> Milliseconds | None:
    """Return ``expires_at`` of ``n`` new rows: an entry for each, one for all, or None for never.

    Without ``n`` the number of rows is not known yet, and only one for all will do.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return np.array([as_milliseconds(value, "expires_at")], dtype=np.int64)
    if n is None:
        raise InvalidInputError(
            "expires_at must be one moment for all rows when the rows come from an iterable"
        )
    each = list(value)
    if len(each) != n:
        raise InvalidInputError(
            f"ids and expires_at must have the same length, got {n} and {len(each)}"
        )
    return np.array(
        [
            0 if moment is None else as_milliseconds(moment, f"item {i}: expires_at")
            for i, moment in enumerate(each)
        ],
        dtype=np.int64,
    )


def part_of(
    moments: Milliseconds | None, items: slice | npt.NDArray[np.intp]
) -> Milliseconds | None:
    """Return the moments of some of the rows that ``as_expiries`` was about."""
    return moments if moments is None or len(moments) == 1 else moments[items]


def as_new_expiries(moments: list[Any]) -> Milliseconds | None:
    """Return ``expires_at`` of rows that exist, as the core takes it; None in it: unchanged."""
    if all(moment is None for moment in moments):
        return None
    return np.array(
        [
            _UNCHANGED if moment is None else as_milliseconds(moment, f"item {i}: expires_at")
            for i, moment in enumerate(moments)
        ],
        dtype=np.int64,
    )


def to_datetime(us: int) -> datetime:
    """Return the aware datetime (UTC) of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def expiry_to_datetime(ms: int) -> datetime | None:
    """Return when a row expires, None for never."""
    return to_datetime(min(ms, _LAST_MS) * 1000) if ms else None


def microseconds_of(moment: datetime, label: str) -> int:
    """Return microseconds since 1970.

    Raises
    ------
    InvalidInputError
        A datetime without a time zone.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidInputError(
            f"{label} must have a time zone, got {moment!r}; write datetime.now(timezone.utc) for "
            "now, moment.astimezone() for local time or moment.replace(tzinfo=timezone.utc)"
        )
    return int((moment - _EPOCH) // _MICROSECOND)


def as_sequence(core: CoreDatabase, value: object, label: str) -> int:
    """Return a sequence number as it is, a datetime as that of the first entry from then on."""
    if isinstance(value, datetime):
        return core.change_log_at(microseconds_of(value, label))
    try:
        return as_count(value, label, 0, _LAST_SEQUENCE)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; or a datetime with a time zone") from None
