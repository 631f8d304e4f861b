"""Examples in docstrings run and say what happens; the documents' claims about names hold."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import srvdb

ROOT = Path(__file__).resolve().parents[2]
MODULES = ["srvdb", *(f"srvdb.{module.name}" for module in pkgutil.iter_modules(srvdb.__path__))]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "srvdb._core"])
def test_examples_of_docstrings(name, tmp_path):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for number, example in enumerate(doctest.DocTestFinder().find(module)):
        if not example.examples:
            continue
        with srvdb.open(tmp_path / f"db{number}") as db:
            db.add(
                ["a", "b", "c"],
                [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
                [{"year": 2024}, {"year": 2025}, {"year": 2025}],
            )
            example.globs.update(db=db, path=str(tmp_path / f"new{number}"), srvdb=srvdb, np=np)
            report = []
            runner.run(example, out=report.append)
            assert runner.failures == 0, "".join(report)


def programs(file):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / file).read_text(), re.M | re.S)


def test_the_programs_of_the_readme_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for program in programs("README.md"):
        exec(program, names)
    shown = capsys.readouterr().out
    assert "doc-42 1.0\n" in shown
    assert '1000 True {"page": 42}\n999\n' in shown
    assert "100 13\n[FacetValue(value=900, count=1), FacetValue(value=901, count=1)]\n" in shown
    assert "author.name" in shown
    assert "\nTrue False\n" in shown
    assert "bytes given back" in shown


def test_the_filters_of_their_document_find_rows(tmp_path):
    (program,) = programs("cpp/FILTERS.md")
    with srvdb.open(tmp_path / "db") as db:
        db.add(
            ["doc1/a", "x"],
            np.eye(2),
            [
                {"year": 2021, "lang": "en", "tags": ["draft"]},
                {"author": {"name": "Bo"}, "title": "The X"},
            ],
        )
        found = [eval(line, {"db": db, "query": [1.0, 0.0]}) for line in program.splitlines()]
        search, count, deleted, page = found
    assert (search.ids, count, deleted, [row.id for row in page]) == (["doc1/a"], 2, 1, ["x"])


def public(owner):
    return [
        value
        for name, value in vars(owner).items()
        if not name.startswith("_") and callable(getattr(value, "__func__", value))
    ]


@pytest.mark.parametrize("owner", [srvdb.Database, srvdb.ShardedDatabase, srvdb.Hits])
def test_everything_public_is_described(owner):
    for kind in owner.__mro__[:-1]:
        for value in public(kind) if kind.__module__.startswith("srvdb") else ():
            assert value.__doc__, value


def test_all_names_exist():
    for name in srvdb.__all__:
        assert hasattr(srvdb, name)
    assert srvdb.__version__.count(".") == 2


def test_every_error_is_a_srvdb_error():
    kinds = [kind for kind in vars(srvdb.errors).values() if isinstance(kind, type)]
    errors = [kind for kind in kinds if issubclass(kind, Exception) and "srvdb" in kind.__module__]
    assert len(errors) > 12
    for kind in errors:
        assert issubclass(kind, srvdb.SrvDBError) or kind is srvdb.SrvDBWarning
    error = srvdb.StorageError(28, "disk is full")
    assert (error.errno, isinstance(error, OSError)) == (28, True)
    assert str(srvdb.NotFoundError("no such row")) == "no such row"


def test_stubs_match_the_extension():
    pytest.importorskip("mypy.stubtest", reason="mypy is not installed (make lint brings it)")
    allowed = Path(__file__).with_name("stubtest_allowlist.txt")
    command = [sys.executable, "-m", "mypy.stubtest", "srvdb._core", "--allowlist", str(allowed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
