"""A vector database in a directory: open a path, add, search.

>>> import srvdb
>>> with srvdb.open(path) as db:
...     db.add(ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]], metadatas=[{"n": 1}, {"n": 2}])
...     [id for id, score in db.search([0.9, 0.1], k=1)]
2
['a']
"""

from srvdb._lifecycle import Snapshot, restore
from srvdb._maintenance import Problem, RepairItem, RepairReport, VerifyReport, repair, verify
from srvdb._moments import NEVER
from srvdb._native import __version__
from srvdb.config import Settings
from srvdb.database import Database, open  # noqa: A004 (srvdb.open is the front door)
from srvdb.errors import (
    ClosedError,
    CorruptionError,
    DimensionError,
    DuplicateIdError,
    FilterError,
    InterruptedCallError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
    SrvDBError,
    SrvDBWarning,
    StorageError,
    VersionError,
)
from srvdb.hits import Explanation, FacetValue, Hit, Hits, LogEntry, Record
from srvdb.sharding import ShardedDatabase

#: The names that programs for srvdb 0.1 and 0.2 use.
SvDBPython = Database
SrvDBPython = Database

__all__ = [
    "NEVER",
    "ClosedError",
    "CorruptionError",
    "Database",
    "DimensionError",
    "DuplicateIdError",
    "Explanation",
    "FacetValue",
    "FilterError",
    "Hit",
    "Hits",
    "InterruptedCallError",
    "InvalidInputError",
    "LockedError",
    "LogEntry",
    "NotFoundError",
    "Problem",
    "ReadOnlyError",
    "Record",
    "RepairItem",
    "RepairReport",
    "Settings",
    "ShardedDatabase",
    "Snapshot",
    "SrvDBError",
    "SrvDBPython",
    "SrvDBWarning",
    "StorageError",
    "SvDBPython",
    "VerifyReport",
    "VersionError",
    "__version__",
    "open",
    "repair",
    "restore",
    "verify",
]
