"""Several processes: one writer, readers beside it, forked children."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import srvdb
from helpers import data_folder, end_child, numbered, run_child, start_child

HOLD = """
import sys, srvdb
db = srvdb.open(sys.argv[1])
db.upsert(["held"], [[1.0, 2.0]])
db.persist()
print("open", flush=True)
sys.stdin.readline()
db.close()
"""


def test_second_writer_is_refused_with_the_pid_of_the_first(path):
    child = start_child(HOLD, str(path), stdin=subprocess.PIPE)
    try:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(srvdb.LockedError, match=rf"\b{child.pid}\b") as caught:
            srvdb.open(path)
        assert caught.value.pid == child.pid
        assert str(path) in str(caught.value)
        with srvdb.open(path, read_only=True) as reader:
            assert reader.search([1.0, 2.0]).ids == ["held"]
        end_child(child, "\n")
        with srvdb.open(path) as db:
            assert len(db) == 1
    finally:
        child.kill()


def test_a_killed_writer_leaves_no_lock(path):
    child = start_child(HOLD, str(path))
    child.stdout.readline()
    child.kill()
    end_child(child)
    with srvdb.open(path) as db:
        assert "held" in db


def in_a_fork(action) -> str:
    """Run action in a forked child; what it returns, or its error, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(action())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_an_error_and_may_read_for_itself(path, rng):
    rows = rng.random((5000, 16), dtype=np.float32)
    with srvdb.open(path) as db:
        db.add(numbered(5000), rows)
        db.persist()
        hit = db.search(rows[3], k=1)[0]

        def read():
            with srvdb.open(path, read_only=True) as reader:
                return reader.search_batch(rows[7:8], k=1, threads=2)[0].ids

        assert in_a_fork(lambda: db.search(rows[0])).startswith("ClosedError")
        assert in_a_fork(lambda: db.add(["x"], rows[:1])).startswith("ClosedError")
        assert in_a_fork(lambda: hit.metadata).startswith("ClosedError")
        assert in_a_fork(lambda: srvdb.open(path)).startswith("LockedError")
        assert in_a_fork(read) == "['7']"
        assert in_a_fork(db.close) in ("None", "")
        assert db.search(rows[0], k=1).ids == ["0"]
        assert db.add(["x"], rows[:1]) == 1
    with srvdb.open(path) as db:
        assert len(db) == 5001


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_of_shards_gets_an_error(path):
    with srvdb.ShardedDatabase(path, shards=2) as db:
        db.add(["a", "b"], [[1.0], [2.0]])
        assert in_a_fork(lambda: db.search([1.0])).startswith("ClosedError")
        assert len(db.search([1.0])) == 2


def test_python_ends_cleanly_with_a_database_open(path):
    code = (
        "import sys, srvdb; db = srvdb.open(sys.argv[1]); db.add(['a'], [[1.0]]); "
        "keep = [db, db.search([1.0])]; keep.append(keep); "
        "import gc; gc.freeze()"  # no collection will find it: only the end of Python closes it
    )
    done = run_child(code, str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with srvdb.open(path, read_only=True) as db:  # which would replay and write nothing
        assert list(db) == ["a"]
        assert db.stats()["checkpointed"] == db.stats()["sequence"] > 0


def test_a_database_of_an_earlier_srvdb_is_refused_untouched(tmp_path):
    folder = data_folder()
    if folder is None or not (folder / "srvdb-legacy").is_dir():
        pytest.skip("no databases of earlier versions: set SRVDB_TEST_DATA")
    for original in sorted(p for p in (folder / "srvdb-legacy").iterdir() if p.is_dir()):
        copy = tmp_path / original.name
        shutil.copytree(original, copy)
        before = {p.name: p.read_bytes() for p in copy.iterdir()}
        with pytest.raises(srvdb.VersionError, match=r"0\.[123]"):
            srvdb.open(copy)
        assert {p.name: p.read_bytes() for p in copy.iterdir()} == before


def test_every_message_is_one_that_a_reader_can_use(path):
    with srvdb.open(path, dimension=2):
        pass
    with pytest.raises(srvdb.SrvDBError) as caught:
        srvdb.open(path, dimension=3)
    assert not re.search(r"std::|0x[0-9a-f]{8}", str(caught.value))
