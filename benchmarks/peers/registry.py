"""Every library that is measured, the parameters it is at its best with, and its kept indexes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.datasets import VectorSet
from benchmarks.memory import PeakResident, size_on_disk
from benchmarks.peers import srvdb_store
from benchmarks.peers.faiss_graph import Faiss
from benchmarks.peers.graph import GraphIndex, Shape
from benchmarks.peers.hnswlib_graph import Hnswlib
from benchmarks.peers.ngt_graph import Ngt
from benchmarks.peers.rabitq_graph import Rabitq
from benchmarks.peers.srvdb_graph import Srvdb
from benchmarks.peers.svs_graph import Svs
from benchmarks.peers.usearch_graph import Usearch
from benchmarks.peers.voyager_graph import Voyager
from benchmarks.peers.vsag_graph import Vsag
from benchmarks.peers.zvec_graph import Zvec
from benchmarks.report import version

GRAPHS: dict[str, Callable[..., GraphIndex]] = {
    "srvdb": Srvdb,
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch": Usearch,
    "svs": Svs,
    "vsag": Vsag,
    "zvec": Zvec,
    "rabitqlib": Rabitq,
    "voyager": Voyager,
    "ngt": Ngt,
}

# What is swept of each library besides the search effort; the best at a recall is taken. Those with
# uint8 codes or rows are not asked for narrower ones of rows that are bytes.
CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "hnswlib": ("hnswlib", "hnswlib:m=32"),
    "faiss": ("faiss", "faiss:kind=sq8", "faiss:kind=refine"),
    "usearch": ("usearch", "usearch:dtype=i8"),
    "svs": ("svs", "svs:storage=lvq8", "svs:storage=lvq4x8"),
    "vsag": ("vsag", "vsag:quantize=sq8"),
    "zvec": ("zvec", "zvec:degree=32"),
    "rabitqlib": ("rabitqlib", "rabitqlib:bits=8"),
    "voyager": ("voyager",),
    "ngt": ("ngt",),
}


def configurations(name: str, every: bool = True) -> tuple[str, ...]:
    """The specs of a peer, or of those the ones that search its first index, each in its way.

    A spec with parameters of its own stands for itself alone.
    """
    specs = CONFIGURATIONS.get(name, (name,))
    first = from_spec(specs[0]).parameters()
    return tuple(spec for spec in specs if every or from_spec(spec).parameters() == first)


def library_of(spec: str) -> str:
    """The library's name in a spec."""
    return spec.partition(":")[0]


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


def from_spec(spec: str) -> GraphIndex:
    """Make an index from `name` or `name:parameter=value,...`, as in `hnswlib:m=32`."""
    name, _, text = spec.partition(":")
    if name not in GRAPHS:
        raise ValueError(f"no graph index {name!r}; there are {', '.join(sorted(GRAPHS))}")
    parameters = dict(pair.split("=", 1) for pair in text.split(",") if pair)
    return GRAPHS[name](**{key: _value(value) for key, value in parameters.items()})


def versions(index: GraphIndex) -> dict[str, str | None]:
    """The installed versions that a result depends on.

    Raises
    ------
    ImportError
        When one is not installed.
    """
    found = {name: version(name) for name in index.packages}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} is not installed")
    return found


def folder_of(index: GraphIndex, data: VectorSet, cache: Path) -> Path:
    """Where the index over these rows is kept.

    The key is the library, its version, its parameters and the rows, for srvdb also its compiled
    code; not the queries, so variants of a set share an index.
    """
    about = [index.name, versions(index), index.parameters(), data.fingerprint()]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:10]
    return cache / f"{rows_name(data)}-{index.name}-{digest}"


def rows_name(data: VectorSet) -> str:
    """A set's name without what says which queries are asked."""
    name = data.name.removesuffix(":ood").removesuffix(":ip")
    return name.replace(":", "-").replace("/", "-")


def build_if_missing(
    index: GraphIndex, data: VectorSet, cache: Path, threads: int = 2, rebuild: bool = False
) -> dict[str, Any]:
    """Build an index over a set unless the cache holds it; says how it was built.

    `peak_bytes` is what the build added to the process at its highest, mapped files included.
    """
    folder = folder_of(index, data, cache)
    note = folder / "built.json"
    if rebuild or not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"  building {index.name} over {data.name} ...", flush=True)
        start, load = time.process_time(), os.getloadavg()[0]
        with PeakResident() as watched:
            taken = index.build(data, folder / "index", threads)
        about = {
            "build_s": taken,
            "processor_s": time.process_time() - start,
            "load_before": load,
            "threads": threads,
            "parameters": index.parameters(),
            "peak_bytes": watched.grown,
            "disk_bytes": size_on_disk(folder / "index"),
        }
        note.write_text(json.dumps(about))
    return dict(json.loads(note.read_text()))


def build_or_reuse(
    index: GraphIndex, data: VectorSet, cache: Path, threads: int = 2, rebuild: bool = False
) -> dict[str, Any]:
    """The same, and open it."""
    built = build_if_missing(index, data, cache, threads, rebuild)
    open_built(index, data, cache)
    return built


def open_built(index: GraphIndex, data: VectorSet, cache: Path) -> None:
    """Open what `build_if_missing` made."""
    index.names = srvdb_store.row_ids(len(data.base))
    index.open(Shape.of(data), folder_of(index, data, cache) / "index")
    index.settle()
