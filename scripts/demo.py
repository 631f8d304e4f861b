"""Show what srvdb does, on real text: the documentation of this Python's standard library.

Every docstring becomes a passage, TF-IDF and a truncated SVD turn passages into vectors of 256
dimensions, and a database is filled with them, asked, closed, opened again and asked the same.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import shutil
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import srvdb

DIMENSIONS = 256
MIN_CHARS = 40
MAX_CHARS = 2000
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}
QUESTIONS = [
    "run a command in a subprocess and capture its output",
    "compress and decompress data with gzip",
    "convert a string to a date and time",
    "create a temporary directory that is removed afterwards",
    "standard deviation and variance of data",
    "wait for a thread to finish",
    "shuffle a list at random",
]

Floats = NDArray[np.float32]
Answer = list[tuple[str, float]]


# ---- passages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    """One docstring and where it stands."""

    id: str  # "module.Class.method"
    kind: str  # module, class, function
    module: str
    line: int
    text: str

    @property
    def metadata(self) -> dict[str, Any]:
        """What the database keeps beside the vector."""
        return {
            "kind": self.kind,
            "module": self.module,
            "line": self.line,
            "summary": self.text.split("\n\n", 1)[0].replace("\n", " ")[:160],
            "chars": len(self.text),
        }


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of every module of the standard library, without tests."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED_FOLDERS.isdisjoint(parts):
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def docstrings(module: str, path: Path) -> Iterator[Passage]:
    """Yield the docstrings of one source file, by reading it: nothing is imported or run."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return

    def visit(node: ast.AST, name: str) -> Iterator[Passage]:
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented):
            text = ast.get_docstring(node)
            if text and len(text) >= MIN_CHARS:
                kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
                line = getattr(node, "lineno", 1)
                yield Passage(name, kind, module, line, text[:MAX_CHARS])
        for child in ast.iter_child_nodes(node):
            inner = getattr(child, "name", None) if isinstance(child, documented) else None
            yield from visit(child, f"{name}.{inner}" if inner else name)

    yield from visit(tree, module)


def built_in(name: str) -> Iterator[Passage]:
    """Yield the docstrings of a module that is written in C, so that has no source to read."""
    module = __import__(name)
    for word, thing in [("", module), *sorted(vars(module).items())]:
        text = inspect.getdoc(thing) if word == "" or callable(thing) else None
        if text and len(text) >= MIN_CHARS and not word.startswith("_"):
            kind = "class" if inspect.isclass(thing) else "function" if word else "module"
            yield Passage(f"{name}.{word}" if word else name, kind, name, 0, text[:MAX_CHARS])


def collect() -> list[Passage]:
    """Return every passage once, in a fixed order."""
    found: dict[str, Passage] = {}
    for module, path in source_files(Path(sysconfig.get_paths()["stdlib"])):
        for passage in docstrings(module, path):
            found.setdefault(passage.id, passage)
    for name in ("builtins", "math", "time", "itertools", "zlib", "binascii"):
        for passage in built_in(name):
            found.setdefault(passage.id, passage)
    seen: set[str] = set()
    unique = []
    for passage in found.values():
        if passage.text not in seen:
            seen.add(passage.text)
            unique.append(passage)
    return unique


# ---- vectors -------------------------------------------------------------------------------------


class Embedder:
    """Words to vectors: TF-IDF, then a truncated SVD, of the passages themselves."""

    def __init__(self, dimensions: int) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._words = TfidfVectorizer(
            sublinear_tf=True, min_df=2, max_df=0.2, stop_words="english", dtype=np.float32
        )
        self._svd = TruncatedSVD(dimensions, n_iter=3, random_state=0)

    def fit(self, texts: list[str]) -> Floats:
        """Learn from the texts and return their vectors, `(n, dimensions)` float32."""
        reduced = self._svd.fit_transform(self._words.fit_transform(texts))
        return np.ascontiguousarray(reduced, dtype=np.float32)

    def embed(self, texts: list[str]) -> Floats:
        """Return the vectors of other texts."""
        reduced = self._svd.transform(self._words.transform(texts))
        return np.ascontiguousarray(reduced, dtype=np.float32)


def embedded_text(passage: Passage) -> str:
    """Return what is embedded: the name's words, which say a lot, and the text."""
    words = passage.id.replace(".", " ").replace("_", " ")
    return f"{words} {words} {passage.text}"


# ---- the database --------------------------------------------------------------------------------


def ask(db: srvdb.Database, vectors: Floats) -> list[Answer]:
    """Return id and score of the three best passages of each question."""
    return [[(hit.id, hit.score) for hit in db.search(vector, 3)] for vector in vectors]


def show_answers(db: srvdb.Database, vectors: Floats) -> None:
    """Print the questions with their answers."""
    width = max(60, min(100, shutil.get_terminal_size().columns))
    for question, vector in zip(QUESTIONS, vectors, strict=True):
        print(f"\n  {bold(question)}")
        for hit in db.search(vector, 3):
            about = f"{hit.metadata['kind']:<8} {hit.id}"
            print(f"    {hit.score:.2f}  {about}")
            summary = textwrap.shorten(hit.metadata["summary"], width - 10, placeholder=" …")
            print(dim(f"          {summary}"))


def recall_against_exact(db: srvdb.Database, queries: Floats, k: int = 10) -> float:
    """Return the share of the exact best k that a plain search finds, by score."""
    found = total = 0
    for query in queries:
        exact = db.search(query, k, exact=True)
        limit = exact[-1].score - 1e-9
        found += sum(hit.score >= limit for hit in db.search(query, k))
        total += len(exact)
    return found / total


def milliseconds_a_search(db: srvdb.Database, queries: Floats) -> float:
    """Return the median time of a search."""
    taken = []
    for query in queries:
        start = time.perf_counter()
        db.search(query, 10)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken))


def disk_bytes(path: Path) -> int:
    """Return what the database's files take on disk."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


# ---- printing ------------------------------------------------------------------------------------


def _styled(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def bold(text: str) -> str:
    """Return the text in bold on a terminal."""
    return _styled(text, "1")


def dim(text: str) -> str:
    """Return the text dimmed on a terminal."""
    return _styled(text, "2")


def step(text: str) -> None:
    """Print a heading."""
    print(f"\n{bold(text)}", flush=True)


# ---- the story -----------------------------------------------------------------------------------


def run(path: Path) -> None:
    """Fill, ask, close, open, ask again, and tell what it took."""
    start = time.perf_counter()
    step("Collecting the documentation of Python's standard library")
    passages = collect()
    print(f"  {len(passages):,} passages from Python {sys.version.split()[0]}")
    step(f"Embedding it: TF-IDF and truncated SVD, {DIMENSIONS} dimensions")
    began = time.perf_counter()
    embedder = Embedder(DIMENSIONS)
    rows = embedder.fit([embedded_text(passage) for passage in passages])
    questions = embedder.embed(QUESTIONS)
    print(f"  {time.perf_counter() - began:.1f} s")

    step(f"Filling {path}")
    facts: list[tuple[str, str]] = [("passages", f"{len(passages):,}")]
    with srvdb.open(path, mode="hnsw") as db:
        began = time.perf_counter()
        db.add_batch(
            [passage.id for passage in passages],
            rows,
            [passage.metadata for passage in passages],
            progress=True,
        )
        db.persist()
        facts.append(("seconds to add, on disk", f"{time.perf_counter() - began:.2f}"))
        began = time.perf_counter()
        db.optimize(progress=True)
        facts.append(("seconds to link the graph", f"{time.perf_counter() - began:.2f}"))
        step("Asking")
        show_answers(db, questions)
        before = ask(db, questions)
        sample = rows[:: max(1, len(rows) // 500)]
        facts.append(("milliseconds a search", f"{milliseconds_a_search(db, sample):.3f}"))
        facts.append(("recall@10 against exact search", f"{recall_against_exact(db, sample):.4f}"))

    step("Closing, opening, asking the same")
    began = time.perf_counter()
    with srvdb.open(path) as db:
        opened = time.perf_counter() - began
        after = ask(db, questions)
        count = len(db)
    if after != before or count != len(passages):
        raise SystemExit("  the answers differ after opening again")
    print("  the same answers, the same scores")
    facts.append(("milliseconds to open", f"{1000 * opened:.1f}"))
    facts.append(("bytes on disk", f"{disk_bytes(path):,}"))

    step("What it took")
    for name, value in facts:
        print(f"  {name:<32}{value:>14}")
    print(dim(f"  all of it in {time.perf_counter() - start:.0f} s"))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0] if __doc__ else None)
    parser.add_argument("--path", type=Path, help="folder for the database, which must not exist")
    parser.add_argument("--keep", action="store_true", help="leave the database there afterwards")
    options = parser.parse_args()
    if options.path and options.path.exists():
        parser.error(f"{options.path} exists; name a folder that does not")
    parent = None if options.path else Path(tempfile.mkdtemp(prefix="srvdb-demo-"))
    path = options.path or parent / "stdlib"
    try:
        run(path)
    finally:
        if options.keep:
            print(f"\nkept: {path}")
        else:
            shutil.rmtree(parent or path, ignore_errors=True)


if __name__ == "__main__":
    main()
