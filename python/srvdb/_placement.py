"""Which shard an id belongs to, and the manifest that fixes it.

Placement, for ever: ``shard = u64(BLAKE2b-64(id as UTF-8)) mod n``, the 8 digest bytes read as a
little-endian integer, no key, no salt, no personalisation. Named ``"blake2b-64"`` in the manifests.

Two kinds of JSON file, each written whole (temporary file, fsync, rename):

``shards.json`` in the directory of a set that was opened by directory::

    {"format": 1, "set": "<32 hex digits>", "shards": n, "hash": "blake2b-64",
     "paths": ["shard-000", …]}

``shard.json`` in the directory of every shard, written before its database is created::

    {"format": 1, "set": "<the same>", "shard": i, "shards": n, "hash": "blake2b-64"}

A shard opened in another order, number or set is refused; so is a database that is no shard.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Any

from srvdb._native import CoreDatabase
from srvdb.errors import CorruptionError, InvalidInputError, NotFoundError, VersionError

FORMAT = 1
HASH = "blake2b-64"
SET_FILE = "shards.json"
SHARD_FILE = "shard.json"
MAX_SHARDS = 1000


def shard_of(id: str, shards: int) -> int:
    """Return the number of the shard that holds an id.

    Examples
    --------
    >>> [shard_of(id, 4) for id in ("a", "b", "c", "doc_1")]
    [0, 0, 3, 1]
    """
    digest = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards


def open_directory(directory: Path, shards: int | None, create: bool) -> list[Path]:
    """Return the shard directories of a set that lives in one directory; creates the set."""
    manifest = directory / SET_FILE
    if manifest.exists():
        content = _read(manifest)
        paths = content.get("paths")
        if not isinstance(paths, list) or len(paths) != content["shards"]:
            raise CorruptionError(f"{manifest}: expected {content['shards']} paths, got {paths!r}")
        if shards is not None and shards != len(paths):
            raise InvalidInputError(
                f"{directory} has {len(paths)} shards, and was opened with shards={shards}"
            )
        found = [directory / str(path) for path in paths]
        _claim(found, content["set"], create)
        return found
    if not create:
        raise NotFoundError(f"no shards at {directory}")
    if shards is None:
        raise InvalidInputError(f"{directory} is new: say how many shards it gets with shards=")
    if (directory / "MANIFEST").exists():
        raise InvalidInputError(f"{directory} holds a database that is not sharded")
    _check_unused(directory)
    names = [f"shard-{i:03d}" for i in range(shards)]
    identity = secrets.token_hex(16)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(manifest, {"set": identity, "shards": shards, "paths": names})
    found = [directory / name for name in names]
    _claim(found, identity, create)
    return found


def open_paths(paths: list[Path], create: bool) -> list[Path]:
    """Check that the directories are the shards of one set, in order; creates the set."""
    if len({path.resolve() for path in paths}) != len(paths):
        raise InvalidInputError("a path stands twice among the shards")
    known = [_read(path / SHARD_FILE)["set"] for path in paths if (path / SHARD_FILE).exists()]
    if not known and not create:
        raise NotFoundError(f"no shard at {paths[0]}")
    _claim(paths, known[0] if known else secrets.token_hex(16), create)
    return paths


def _claim(paths: list[Path], identity: str, create: bool) -> None:
    """Check the manifest of each shard, or write it where the shard is yet to be created."""
    expected = {"set": identity, "shards": len(paths)}
    new: list[tuple[int, Path]] = []
    for number, path in enumerate(paths):
        manifest = path / SHARD_FILE
        if manifest.exists():
            content = _read(manifest)
            for key, value in {**expected, "shard": number}.items():
                if content.get(key) != value:
                    raise InvalidInputError(
                        f"{path} is not shard {number} of this set of {len(paths)}: its {key} is "
                        f"{content.get(key)!r}, expected {value!r}"
                    )
        elif (path / "MANIFEST").exists():
            raise InvalidInputError(f"{path} holds a database that is not a shard")
        elif not create:
            raise NotFoundError(f"no shard at {path}")
        else:
            _check_unused(path)
            new.append((number, path))
    for number, path in new:  # nothing is written where any of the set is refused
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(path / SHARD_FILE, {**expected, "shard": number})


def _check_unused(path: Path) -> None:
    """Refuse a directory that the core would not create a database in; changes nothing."""
    with contextlib.suppress(NotFoundError):
        CoreDatabase.open(
            os.fsencode(path),
            dimension=None,
            metric=None,
            mode=None,
            m=None,
            ef_construction=None,
            ef=100,
            durability="os",
            read_only=True,
            create=False,
            buffer_bytes=1 << 20,
            flush_rows=1000,
            background=False,
            auto_compact_share=0.0,
        ).close()
        raise InvalidInputError(f"{path} holds a database already")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptionError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict) or not {"format", "set", "shards", "hash"} <= content.keys():
        raise CorruptionError(f"{path} is not a manifest of shards")
    if content["format"] != FORMAT or content["hash"] != HASH:
        raise VersionError(
            f"{path}: expected format {FORMAT} with hash {HASH!r}, "
            f"got {content['format']!r} with {content['hash']!r}"
        )
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "hash": HASH, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
