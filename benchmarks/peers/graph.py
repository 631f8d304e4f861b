"""Graph indexes that answer queries one by one, srvdb among them.

To add a peer: write a class with the methods of `GraphIndex` and enter it in `GRAPHS`. What is
timed is the callable that `searcher` returns, once a query; it must come back with the caller's
own ids inside.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks.datasets import Floats, VectorSet
from benchmarks.peers import srvdb_store

Searcher = Callable[[Floats], Any]


class GraphIndex(Protocol):
    """One library with its build parameters."""

    name: str

    def parameters(self) -> dict[str, Any]:
        """What the build depends on, for the cache's key."""

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        """Build at `path` from nothing; returns the seconds until searches are at full speed."""

    def open(self, data: VectorSet, path: Path) -> None:
        """Load what `build` left, in a state that answers at full speed."""

    def searcher(self, k: int, effort: int) -> Searcher:
        """A function of one float32 query that answers its k best."""

    def row_numbers(self, answer: Any) -> list[int]:
        """The rows of an answer, best first; outside the timing."""

    def close(self) -> None:
        """Let go of memory and files."""


class Hnswlib:
    """hnswlib: float32 rows and links in memory. Build it from source, so that AVX-512 is used."""

    name = "hnswlib"

    def __init__(self, m: int = 16, ef_construction: int = 200) -> None:
        self.m = m
        self.ef_construction = ef_construction
        self._index: Any = None

    def parameters(self) -> dict[str, Any]:
        return {"m": self.m, "ef_construction": self.ef_construction}

    @staticmethod
    def instructions() -> str | None:
        """The widest registers its machine code names; None where that cannot be seen."""
        import hnswlib

        objdump = shutil.which("objdump")
        if objdump is None:
            return None
        command = [objdump, "-d", hnswlib.__file__]
        listing = subprocess.run(command, capture_output=True, text=True)
        for register, name in (("%zmm", "AVX-512"), ("%ymm", "AVX2"), ("%xmm", "SSE")):
            if register in listing.stdout:
                return name
        return None

    def _empty(self, data: VectorSet) -> Any:
        import hnswlib

        return hnswlib.Index(space=data.metric, dim=data.dim)

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        index = self._empty(data)
        start = time.perf_counter()
        index.init_index(len(data.base), M=self.m, ef_construction=self.ef_construction)
        index.set_num_threads(threads)
        index.add_items(data.base, num_threads=threads)
        taken = time.perf_counter() - start
        path.mkdir(parents=True)
        index.save_index(str(path / "index.bin"))
        return taken

    def open(self, data: VectorSet, path: Path) -> None:
        self._index = self._empty(data)
        self._index.load_index(str(path / "index.bin"))
        self._index.set_num_threads(1)

    def searcher(self, k: int, effort: int) -> Searcher:
        self._index.set_ef(max(effort, k))
        answer = self._index.knn_query

        def search(query: Floats) -> Any:
            return answer(query, k, 1)

        return search

    def row_numbers(self, answer: Any) -> list[int]:
        return [int(row) for row in answer[0][0]]

    def close(self) -> None:
        self._index = None


class Srvdb:
    """srvdb: a durable database opened from disk, every row linked, string ids, mode "hnsw"."""

    name = "srvdb"

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.path = Path()  # of the open database
        self._db: Any = None

    def parameters(self) -> dict[str, Any]:
        return {**self.options, "srvdb": srvdb_store.build_id()}

    def build(self, data: VectorSet, path: Path, threads: int) -> float:
        ids = srvdb_store.row_ids(len(data.base))
        start = time.perf_counter()
        with srvdb_store.create(path, data.metric, mode="hnsw", **self.options) as db:
            db.add_batch(ids, data.base, threads=threads)
            db.optimize(threads=threads)
        return time.perf_counter() - start  # closing is part of it

    def open(self, data: VectorSet, path: Path) -> None:
        self.path = path
        self._db = srvdb_store.open_linked(path)

    def searcher(self, k: int, effort: int) -> Searcher:
        answer = self._db.search

        def search(query: Floats) -> Any:
            return answer(query, k, ef=effort)

        return search

    def row_numbers(self, answer: Any) -> list[int]:
        return [int(hit[0]) for hit in answer]

    def close(self) -> None:
        self._db.close()
        self._db = None


GRAPHS: dict[str, Callable[..., GraphIndex]] = {"srvdb": Srvdb, "hnswlib": Hnswlib}


def from_spec(spec: str) -> GraphIndex:
    """Make an index from `name` or `name:parameter=number,...`, as in `hnswlib:m=32`."""
    name, _, text = spec.partition(":")
    if name not in GRAPHS:
        raise ValueError(f"no graph index {name!r}; there are {', '.join(sorted(GRAPHS))}")
    parameters = dict(pair.split("=", 1) for pair in text.split(",") if pair)
    return GRAPHS[name](**{key: int(value) for key, value in parameters.items()})


def build_or_reuse(
    index: GraphIndex, data: VectorSet, cache: Path, threads: int = 2, rebuild: bool = False
) -> dict[str, Any]:
    """Open an index over a set, built first unless the cache holds it; says how it was built.

    The key is the library, its parameters and the rows; for srvdb also its version and its compiled
    code. After a change to a peer, ask for `rebuild`.
    """
    key = json.dumps([index.name, index.parameters(), data.fingerprint()], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    folder = cache / f"{data.name.replace(':', '-').replace('/', '-')}-{index.name}-{digest}"
    note = folder / "built.json"
    if rebuild or not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"  building {index.name} over {data.name} ...", flush=True)
        taken = index.build(data, folder / "index", threads)
        about = {"build_s": taken, "threads": threads, "parameters": index.parameters()}
        note.write_text(json.dumps(about))
    index.open(data, folder / "index")
    return dict(json.loads(note.read_text()))
