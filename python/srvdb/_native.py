"""The one place that imports the extension module.

Hands it the exception classes, and turns what the core has to say into warnings and log lines.
"""

from __future__ import annotations

import logging
import warnings

from srvdb import _core, errors
from srvdb._core import (
    Counter,
    Hit,
    StopFlag,
    dump_metadata,
    hit_ids,
    metadata_problem,
    now_us,
    repair,
    verify,
)
from srvdb._core import Database as CoreDatabase
from srvdb._core import _filter_matches_for_tests as filter_matches_for_tests
from srvdb._core import _set_clock_for_tests as set_clock_for_tests

__all__ = [
    "CoreDatabase",
    "Counter",
    "Hit",
    "StopFlag",
    "__version__",
    "dump_metadata",
    "filter_matches_for_tests",
    "hit_ids",
    "metadata_problem",
    "now_us",
    "repair",
    "set_clock_for_tests",
    "verify",
]

__version__: str = _core.__version__

_log = logging.getLogger("srvdb")


def _report(is_warning: bool, message: str) -> None:
    if is_warning:
        # 1: here; 2: the method of srvdb that made the call; 3: the caller's line.
        warnings.warn(message, errors.SrvDBWarning, stacklevel=3)
    else:
        _log.info("%s", message)


_core.install(
    {
        "invalid input": errors.InvalidInputError,
        "dimension": errors.DimensionError,
        "duplicate id": errors.DuplicateIdError,
        "not found": errors.NotFoundError,
        "filter": errors.FilterError,
        "locked": errors.LockedError,
        "read-only": errors.ReadOnlyError,
        "closed": errors.ClosedError,
        "corruption": errors.CorruptionError,
        "version": errors.VersionError,
        "storage": errors.StorageError,
        "interrupted": errors.InterruptedCallError,
    },
    _report,
)
