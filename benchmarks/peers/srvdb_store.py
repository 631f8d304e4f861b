"""The few calls on srvdb that several measures share, in one place."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import srvdb


def row_ids(n: int, prefix: str = "") -> list[str]:
    """String ids of rows 0 to n - 1."""
    return [f"{prefix}{row}" for row in range(n)]


@functools.cache
def build_id() -> str:
    """The version and a hash of the extension module: differs between differing builds of srvdb."""
    module = Path(srvdb._core.__file__).read_bytes()
    return f"{srvdb.__version__}-{hashlib.sha256(module).hexdigest()[:8]}"


def create(path: Path, metric: str, mode: str = "auto", **options: Any) -> srvdb.Database:
    """A new database; what was at `path` is removed."""
    shutil.rmtree(path, ignore_errors=True)
    return srvdb.open(str(path), metric=metric, mode=mode, **options)


def open_linked(path: Path, **options: Any) -> srvdb.Database:
    """An existing database; complains when it searches a graph that does not cover all rows."""
    db = srvdb.open(str(path), **options)
    linked, rows = stat(db, "linked_rows"), stat(db, "rows")
    if linked != rows and stat(db, "mode") == "hnsw":
        print(f"  note: {path.name} has {rows - linked} of {rows} rows unlinked", flush=True)
    return db


def stat(db: srvdb.Database, name: str) -> Any:
    """One value of `stats()`."""
    stats: Any = db.stats()
    return stats[name] if isinstance(stats, Mapping) else getattr(stats, name)
