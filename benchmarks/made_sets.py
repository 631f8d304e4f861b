"""Vector sets that are made here, of data that has none or is not hard enough, and kept.

- `proposals-768`: the passages of `proposals-text` as TF-IDF over words, brought to 768 dimensions
  by a truncated SVD and to length 1; cosine. 2,000 passages, drawn at random, are the queries and
  are not among the rows. Needs scikit-learn.
- `near-duplicates`: real rows of `proposals-768`, each with copies that differ in a little noise,
  of three strengths; cosine. Queries are further copies. The ten best of a query lie in one tight
  cluster, which a graph has to enter and then to tell apart.

Both are made with fixed seeds, and their ground truth by brute force in float64. They are kept in
`$SRVDB_BENCH_CACHE/sets`, by default `benchmarks/cache/sets`, in the layout of the data directory.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SEED = 768
DIM = 768
QUERIES = 2000
DEPTH = 100  # of the ground truth
CLUSTERS, COPIES = 2000, 30
NOISE = (0.02, 0.05, 0.1)  # lengths beside a row's 1; a third of the copies have each


def directory() -> Path:
    """Where made sets are kept."""
    given = os.environ.get("SRVDB_BENCH_CACHE")
    return (Path(given) if given else Path(__file__).resolve().parent / "cache") / "sets"


def path_of(name: str, data: Path) -> Path:
    """The file of a made set, made first if need be from the data directory `data`.

    Raises
    ------
    FileNotFoundError
        When what it is made of is not there.
    ImportError
        When scikit-learn is needed and missing.
    """
    path = directory() / name / "data.npz"
    if not path.exists():
        base, queries, about = MAKERS[name](data)
        _keep(path, base, queries, {"name": name, "metric": "cosine", **about})
    return path


def _keep(path: Path, base: Floats, queries: Floats, about: dict[str, Any]) -> None:
    from benchmarks import recall

    print(f"  exact answers of {path.parent.name} ...", flush=True)
    truth = recall.brute_force(base, queries, "cosine", DEPTH)
    gaps = recall.distances(base, queries, truth, "cosine")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("meta.json").write_text(json.dumps(about, indent=1) + "\n")
    unfinished = path.with_name("unfinished.npz")
    np.savez(unfinished, base=base, queries=queries, gt=truth.astype(np.int32), gt_dist=gaps)
    unfinished.replace(path)


def _unit(rows: NDArray[Any]) -> Floats:
    sizes = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(rows / sizes, dtype=np.float32)


def _proposals(data: Path) -> tuple[Floats, Floats, dict[str, Any]]:
    source = data / "proposals-text" / "passages.jsonl.xz"
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist (set SRVDB_DATA)")
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    print("  making proposals-768 of its texts, a minute or two ...", flush=True)
    with lzma.open(source, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    words = TfidfVectorizer(sublinear_tf=True, min_df=3, max_df=0.2, dtype=np.float32)
    table = words.fit_transform(texts)
    rows = TruncatedSVD(DIM, n_iter=4, random_state=SEED).fit_transform(table)
    there = np.linalg.norm(rows, axis=1) > 1e-3  # a passage of unknown words alone has no direction
    rows = _unit(rows[there])
    held_out = np.zeros(len(rows), dtype=bool)
    held_out[np.random.default_rng(SEED).choice(len(rows), QUERIES, replace=False)] = True
    about = {"made_of": "proposals-text: TF-IDF over words, truncated SVD", "seed": SEED}
    return rows[~held_out], rows[held_out], about


def _near_duplicates(data: Path) -> tuple[Floats, Floats, dict[str, Any]]:
    with np.load(path_of("proposals-768", data)) as arrays:
        real = arrays["base"]
    random = np.random.default_rng(SEED)
    centres = real[random.choice(len(real), CLUSTERS, replace=False)]

    def copies(count: int) -> Floats:
        rows = np.repeat(centres, count, axis=0)
        strength = np.resize(np.array(NOISE, dtype=np.float32), len(rows))[:, None]
        noise = random.standard_normal(rows.shape, dtype=np.float32)
        return _unit(rows + strength * _unit(noise))

    base = copies(COPIES)
    base = base[random.permutation(len(base))]
    about = {"made_of": "proposals-768: copies of rows with noise", "noise": NOISE, "seed": SEED}
    return base, copies(1), about


MAKERS: dict[str, Callable[[Path], tuple[Floats, Floats, dict[str, Any]]]] = {
    "proposals-768": _proposals,
    "near-duplicates": _near_duplicates,
}
