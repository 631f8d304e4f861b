"""Vector sets: `.npz` folders of a data directory, and HDF5 files as ann-benchmarks writes them.

A `.npz` set is a folder `<name>/data.npz` with `base`, `queries`, `gt` (row numbers of the exact
top 100) and a `meta.json` that names the metric. The data directory is `$SRVDB_DATA`, by default
`../shared/data`, beside the repository; `made_sets.py` makes two more. A name may be a short one
("mnist") and may carry a variant: "words:ip" (its inner-product ground truth), "notes:ood"
(queries from outside the collection).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import made_sets

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

ALIASES = {
    "mnist": "mnist-784-euclidean-2k",
    "notes": "notes-ml-384-angular",
    "sift-80k": "sift-photos-80k",
    "sift-957k": "sift-photos-957k",
    "sift-5k": "sift-sample-5k",
    "words": "words-25k-100-angular",
}
METRICS = {
    "angular": "cosine",
    "cosine": "cosine",
    "dot": "ip",
    "euclidean": "l2",
    "inner product": "ip",
    "ip": "ip",
    "l2": "l2",
}


@dataclass(frozen=True)
class VectorSet:
    """Vectors to search in, queries, and the exact answers where they are known.

    `base` and `queries` are float32, C-contiguous, `(rows, dim)` and `(n_queries, dim)`; `truth` is
    `(n_queries, depth)` row numbers, best first, or None when it does not belong to these rows.
    """

    name: str
    metric: str
    base: Floats
    queries: Floats
    truth: Rows | None

    @property
    def dim(self) -> int:
        return int(self.base.shape[1])

    @property
    def bytes_only(self) -> bool:
        """Whether every coordinate of the rows is an integer from 0 to 255."""
        step = max(1, len(self.base) // 10_000)
        some = self.base[::step]
        return bool(some.min() >= 0 and some.max() <= 255 and (some == np.round(some)).all())

    def head(self, rows: int | None = None, queries: int | None = None) -> VectorSet:
        """The first rows and queries; the ground truth stays only where all rows stay."""
        rows = min(rows or len(self.base), len(self.base))
        queries = min(queries or len(self.queries), len(self.queries))
        truth = self.truth if rows == len(self.base) else None
        return VectorSet(
            self.name if rows == len(self.base) else f"{self.name}[:{rows}]",
            self.metric,
            self.base[:rows],
            self.queries[:queries],
            None if truth is None else truth[:queries],
        )

    def fingerprint(self) -> str:
        """Eight hex digits that differ between differing rows."""
        step = max(1, len(self.base) // 1000)
        sample = np.ascontiguousarray(self.base[::step])
        digest = hashlib.sha256(f"{self.metric}{self.base.shape}".encode())
        digest.update(sample.tobytes())
        return digest.hexdigest()[:8]


def data_directory() -> Path:
    """Where the `.npz` sets are: `$SRVDB_DATA`, by default `../shared/data`."""
    given = os.environ.get("SRVDB_DATA")
    if given:
        return Path(given)
    return Path(__file__).resolve().parents[2] / "shared" / "data"


def all_sets() -> list[str]:
    """Name every vector set of the data directory, and the variants with their own ground truth."""
    names: list[str] = []
    for path in sorted(data_directory().glob("*/data.npz")):
        names.append(path.parent.name)
        with np.load(path) as arrays:
            names += [f"{path.parent.name}:ip"] if "gt_ip" in arrays.files else []
            names += [f"{path.parent.name}:ood"] if "gt_ood" in arrays.files else []
    return names + sorted(str(path) for path in data_directory().glob("*.hdf5"))


def load(name: str) -> VectorSet:
    """Load one set by its name, its short name, or the path of a `.npz` or `.hdf5` file.

    Raises
    ------
    FileNotFoundError
        When there is no such set; the message says where it was looked for.
    """
    name, _, variant = name.partition(":")
    name = ALIASES.get(name, name)
    path = Path(name)
    if name in made_sets.MAKERS:
        path = made_sets.path_of(name, data_directory())
    if path.suffix not in (".npz", ".hdf5", ".h5"):
        path = data_directory() / name / "data.npz"
        if not path.exists() and (data_directory() / f"{name}.hdf5").exists():
            path = data_directory() / f"{name}.hdf5"
    if not path.exists():
        raise FileNotFoundError(f"no vector set {name!r}: {path} does not exist (set SRVDB_DATA)")
    found = _load_npz(path, variant) if path.suffix == ".npz" else _load_hdf5(path)
    if not len(found.base) or found.base.shape[1] != found.queries.shape[1]:
        raise ValueError(f"{path}: {found.base.shape} rows do not fit {found.queries.shape}")
    return found


def load_present(names: list[str]) -> list[VectorSet]:
    """Load the sets that are there; say on stderr which are not."""
    found = []
    for name in names:
        try:
            found.append(load(name))
        except (FileNotFoundError, ImportError) as error:
            print(f"skipped: {error}", file=sys.stderr)
    return found


def _floats(array: NDArray[np.generic]) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def _load_npz(path: Path, variant: str) -> VectorSet:
    meta_path = path.with_name("meta.json")
    meta = json.loads(meta_path.read_text()) if meta_path.exists() else {}
    metric = METRICS[meta.get("metric", "euclidean")]
    name = path.parent.name if path.name == "data.npz" else path.stem
    truth, queries = "gt", "queries"
    if variant == "ip":
        metric, truth = "ip", "gt_ip"
    elif variant:
        truth, queries = f"gt_{variant}", f"queries_{variant}"
    with np.load(path) as arrays:
        if truth not in arrays.files or queries not in arrays.files:
            raise FileNotFoundError(f"{path} has no variant {variant!r}")
        return VectorSet(
            f"{name}:{variant}" if variant else name,
            metric,
            _floats(arrays["base"]),
            _floats(arrays[queries]),
            arrays[truth].astype(np.int64),
        )


def _load_hdf5(path: Path) -> VectorSet:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} needs the package h5py") from error
    with h5py.File(path, "r") as file:
        metric = file.attrs.get("distance", "euclidean")
        metric = metric.decode() if isinstance(metric, bytes) else str(metric)
        if metric not in METRICS:
            raise FileNotFoundError(f"{path} has the metric {metric!r}, which srvdb does not have")
        return VectorSet(
            path.stem,
            METRICS[metric],
            _floats(file["train"][:]),
            _floats(file["test"][:]),
            file["neighbors"][:].astype(np.int64),
        )
