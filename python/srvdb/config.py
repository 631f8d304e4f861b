"""Settings of an opened database, and where each of them came from.

A setting is looked for in this order; the first place that names it wins:

1. the keyword argument of ``srvdb.open``,
2. the environment variable (``SVDB_BUFFER_SIZE``, …),
3. the configuration: ``config=`` (a dict, or the path of a TOML file), else ``config.toml`` in the
   database directory,
4. the default.

An unknown ``SVDB_`` variable or configuration key is an error. What a
database *is* (dimension, metric, mode, ``m``, ``ef_construction``) is stored with it and is no
setting.

=========================  =========  ==================================================
setting                    default    meaning
=========================  =========  ==================================================
``buffer_size``            8388608    bytes that may wait in the append buffer
``auto_flush_threshold``   1000       vectors that may wait there
``durability``             ``"os"``   ``"memory"``, ``"os"`` or ``"disk"``
``ef``                     100        width of a graph search that names none
``recall``                 none       in the place of ``ef``: recall that a search which
                                      names none is to reach, above 0 and up to 1; of the
                                      two that of the first place in the list above wins
``memory_limit``           none       bytes the database may take beyond the page cache,
                                      from 64 MiB; a number, or text like ``"512MB"``
``filter_cache``           16777216   bytes that the answers of filters may take
``prefault``               ``false``  bring codes and links into memory when opening
``lock_memory``            ``false``  keep them there
``background``             ``true``   link rows into the graph in the background
``auto_compact``           ``true``   compact unasked: ``false``, ``true``, the share of
                                      rows that must be gone (0.5 when true), or a table
                                      of ``share`` and ``bytes`` (67108864), which these
                                      rows must take at least
``snapshot_every``         0          time between automatic snapshots: seconds, or a
                                      number with ``s``, ``m``, ``h`` or ``d``; 0: none
``keep``                   24         automatic snapshots that stay
=========================  =========  ==================================================

The variable of a setting is its name in capitals behind ``SVDB_``.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from srvdb._arrays import as_count, as_recall
from srvdb.errors import InvalidInputError, NotFoundError

__all__ = ["Settings"]

PREFIX = "SVDB_"
FILE_NAME = "config.toml"
_DURABILITIES = ("memory", "os", "disk")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_SECONDS = 1e9
_UNITS = {"": 1, **{f"{unit}{i}": (1024 if i else 1000) ** power
                    for power, unit in enumerate("kMGT", 1) for i in ("", "i")}}  # fmt: skip
_LEAST_MEMORY = 64 << 20
_FLAGS = ("background", "prefault", "lock_memory")


class AutoCompact(NamedTuple):
    """When compaction starts by itself: when both are reached.

    Attributes
    ----------
    share : float
        Share of the rows that are deleted, expired or replaced; above 0, up to 1.
    bytes : int
        Bytes that these rows take.
    """

    share: float = 0.5
    bytes: int = 64 << 20


_COMPACT = AutoCompact()


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is in force, as ``Database.settings`` and ``stats()["settings"]`` show it.

    Attributes
    ----------
    buffer_size : int
        Bytes of rows that may wait in the append buffer, from 4096.
    auto_flush_threshold : int
        Vectors that may wait in the append buffer, from 1.
    durability : {"memory", "os", "disk"}
        What an acknowledged write has reached.
    ef : int
        Width of a graph search that names none, 1 to 1,000,000 (``search``).
    recall : float or None
        Recall that a search is to reach when the call names neither that nor ``ef``; None: by
        ``ef``.
    memory_limit : int or None
        Bytes that the database may take in this process beyond the page cache; None: no limit.
    filter_cache : int
        Bytes that the kept answers of filters may take; 0: none is kept.
    prefault : bool
        Whether codes and links are brought into memory when it is opened.
    lock_memory : bool
        Whether they are kept there.
    background : bool
        Whether rows are linked into the graph in the background.
    auto_compact : AutoCompact or False
        When compaction starts by itself; False: never.
    snapshot_every : float
        Seconds between automatic snapshots; 0: none.
    keep : int
        Automatic snapshots that stay, the newest; from 1.
    sources : mapping of str to str
        For each of the above, where it came from: ``"default"``, ``"keyword"``,
        ``"environment SVDB_…"`` or the configuration's name.

    Examples
    --------
    >>> settings = Settings.resolve(environ={"SVDB_BUFFER_SIZE": "65536"}, ef=50)
    >>> settings.buffer_size, settings.ef, settings.durability
    (65536, 50, 'os')
    >>> settings.sources["buffer_size"], settings.sources["ef"]
    ('environment SVDB_BUFFER_SIZE', 'keyword')
    """

    buffer_size: int = 8 << 20
    auto_flush_threshold: int = 1000
    durability: str = "os"
    ef: int = 100
    recall: float | None = None
    memory_limit: int | None = None
    filter_cache: int = 16 << 20
    prefault: bool = False
    lock_memory: bool = False
    background: bool = True
    auto_compact: AutoCompact | Literal[False] = _COMPACT
    snapshot_every: float = 0.0
    keep: int = 24
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    @classmethod
    def resolve(
        cls,
        directory: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Settings:
        """Gather the settings from all places.

        Parameters
        ----------
        directory : path, optional
            Database directory, whose ``config.toml`` is read when there is one.
        config : path or dict, optional
            Takes the place of that file.
        environ : mapping, optional
            The environment; ``os.environ`` when left out.
        **keywords
            Settings by name; None means "not given".

        Raises
        ------
        InvalidInputError
            An unknown name, or a value of the wrong type or out of range.
        NotFoundError
            ``config`` names a file that is not there.
        """
        values: dict[str, Any] = {}
        sources = dict.fromkeys(_CHECKS, "default")

        def take(name: str, value: Any, source: str, label: str) -> None:
            values[name] = _CHECKS[name](value, label)
            sources[name] = source

        file_values, file_source = _configuration(directory, config)
        for key, value in file_values.items():
            if key not in _CHECKS:
                raise _unknown(f"{file_source}: unknown key {key!r}", list(_CHECKS))
            take(key, value, file_source, f"{key} in {file_source}")
        for variable, text in _from_environment(os.environ if environ is None else environ):
            name = variable[len(PREFIX) :].lower()
            take(name, _parse(name, text, variable), f"environment {variable}", variable)
        for name, value in keywords.items():
            if value is not None:
                take(name, value, "keyword", name)
        _choose_width(values, sources)
        return cls(**values, sources=MappingProxyType(sources))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return ``{name: {"value": …, "source": …}}``."""
        values = {name: getattr(self, name) for name in _CHECKS}
        if self.auto_compact:
            values["auto_compact"] = self.auto_compact._asdict()
        return {
            name: {"value": value, "source": self.sources.get(name, "default")}
            for name, value in values.items()
        }


def _choose_width(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Of ``ef`` and ``recall`` leave the one from the earlier place."""
    if "ef" not in values or "recall" not in values:
        return

    def rank(name: str) -> int:
        source = sources[name]
        return 0 if source == "keyword" else 1 if source.startswith("environment ") else 2

    if rank("ef") == rank("recall"):
        raise InvalidInputError(
            f"give recall or ef, not both: got recall={values['recall']} and ef={values['ef']}"
        )
    later = max("ef", "recall", key=rank)
    del values[later]
    sources[later] = "default"


def _check_durability(value: Any, label: str) -> str:
    if value not in _DURABILITIES:
        raise InvalidInputError(
            f"{label} must be one of {', '.join(map(repr, _DURABILITIES))}, got {value!r}"
        )
    return str(value)


def _check_flag(value: Any, label: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"{label} must be true or false, got {value!r}")
    return value


def _check_bytes(value: Any, label: str) -> int:
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?i?B?)\s*", value)
        unit = found[2].rstrip("B") if found else "?"
        if not found or unit not in _UNITS:
            raise InvalidInputError(f"{label} must be bytes or a text like '512MB', got {value!r}")
        value = int(float(found[1]) * _UNITS[unit])
    return as_count(value, label, _LEAST_MEMORY, 1 << 60)


def _check_auto_compact(value: Any, label: str) -> AutoCompact | Literal[False]:
    if isinstance(value, bool):
        return _COMPACT if value else False
    if isinstance(value, (AutoCompact, Mapping)):
        given = value._asdict() if isinstance(value, AutoCompact) else dict(value)
        for key in given:
            if key not in AutoCompact._fields:
                raise _unknown(f"{label}: unknown key {key!r}", list(AutoCompact._fields))
        share = _check_share(given.get("share", _COMPACT.share), f"share of {label}")
        size = as_count(given.get("bytes", _COMPACT.bytes), f"bytes of {label}", 0, 1 << 60)
        return AutoCompact(share, size)
    return AutoCompact(_check_share(value, label))


def _check_share(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise InvalidInputError(
            f"{label} must be a share above 0 and up to 1, got {value!r}; False for never"
        )
    return float(value)


def _check_duration(value: Any, label: str) -> float:
    seconds: float | None = None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", value)
        if found:
            seconds = float(found[1]) * _SECONDS[found[2]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    if seconds is None or not (seconds == 0 or 0.001 <= seconds <= _MAX_SECONDS):
        raise InvalidInputError(
            f"{label} must be seconds or a time like '90s', '15m', '1h' or '7d', got {value!r}"
        )
    return seconds


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "buffer_size": lambda value, label: as_count(value, label, 4096, 1 << 40),
    "auto_flush_threshold": lambda value, label: as_count(value, label, 1, 1 << 32),
    "durability": _check_durability,
    "ef": lambda value, label: as_count(value, label, 1, 1_000_000),
    "recall": as_recall,
    "memory_limit": _check_bytes,
    "filter_cache": lambda value, label: as_count(value, label, 0, 1 << 40),
    "prefault": _check_flag,
    "lock_memory": _check_flag,
    "background": _check_flag,
    "auto_compact": _check_auto_compact,
    "snapshot_every": _check_duration,
    "keep": lambda value, label: as_count(value, label, 1, 1_000_000),
}


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    found = [key for key in environ if key.startswith(PREFIX)]
    known = {PREFIX + name.upper() for name in _CHECKS} if found else set()
    for key in found:
        if key not in known:
            raise _unknown(f"unknown environment variable {key}", sorted(known))
    return [(key, environ[key]) for key in found]


def _parse(name: str, text: str, variable: str) -> Any:
    """Read an environment variable's text as the setting's type."""
    if name in ("durability", "snapshot_every", "memory_limit"):
        return text
    if name in (*_FLAGS, "auto_compact"):
        known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() in known:
            return known[text.lower()]
        if name in _FLAGS:
            raise InvalidInputError(f"{variable} must be true or false, got {text!r}")
        try:
            return float(text)
        except ValueError:
            raise InvalidInputError(
                f"{variable} must be true, false or a share, got {text!r}"
            ) from None
    if name == "recall":
        try:
            return float(text)
        except ValueError:
            raise InvalidInputError(f"{variable} must be a number, got {text!r}") from None
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{variable} must be an integer, got {text!r}") from None


def _configuration(
    directory: str | os.PathLike[str] | None,
    config: str | os.PathLike[str] | Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any], str]:
    """Return the configuration's values and what messages call it."""
    if config is None:
        # As nearly always there is no file, for which no Path is worth its time.
        file = "" if directory is None else os.path.join(directory, FILE_NAME)  # noqa: PTH118
        if not os.path.isfile(file):  # noqa: PTH113
            return {}, "config"
        return _read_toml(Path(file)), file
    if isinstance(config, Mapping):
        return config, "config"
    path = Path(config)
    if not path.is_file():
        raise NotFoundError(f"no configuration file at {path}")
    return _read_toml(path), str(path)


def _read_toml(path: Path) -> dict[str, Any]:
    for module in ("tomllib", "tomli"):  # tomllib is part of Python from 3.11 on
        try:
            toml = importlib.import_module(module)
        except ImportError:
            continue
        try:
            values: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidInputError(f"{path} is not valid TOML: {error}") from None
        return values
    raise InvalidInputError(
        f"reading {path} needs Python 3.11 or newer, or the package tomli (pip install tomli); "
        "or pass the settings as config={...}"
    )


def _unknown(what: str, known: list[str]) -> InvalidInputError:
    return InvalidInputError(f"{what}; known are {', '.join(known)}")
