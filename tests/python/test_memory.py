"""memory_limit=, prefault= and lock_memory=: what a process holds beyond the page cache."""

import json
import time

import numpy as np
import pytest

import srvdb
from helpers import numbered, run_child

LIMIT = 64 << 20

# Adds, links, searches, compacts and opens again; prints how far anonymous memory grew at its peak.
PROGRAM = """
import json, sys, threading, time
import numpy as np
import srvdb

path, limit, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
limit = None if limit == "none" else limit
rng = np.random.default_rng(1)
block = rng.standard_normal((10_000, 8), dtype=np.float32)
peak, done = 0, False


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.002)


start = anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
options = dict(mode="hnsw", m=64, ef_construction=4, memory_limit=limit)
with srvdb.open(path, **options) as db:
    for first in range(0, rows, len(block)):
        ids = [str(i) for i in range(first, first + len(block))]
        db.add_batch(ids, block + np.float32(first))
    db.optimize(threads=2)
    linked = db.stats()["memory"]
    assert db.stats()["unlinked_rows"] == 0
    assert len(db.search(block[0], k=10)) == 10
with srvdb.open(path, **options) as db:
    db.add(["new"], block[:1])
    db.optimize(threads=2)
    again = db.stats()["memory"]
    assert db.search(block[0], k=3, exact=True).ids
done = True
watcher.join()
print(json.dumps({"peak": peak - start, "linked": linked, "again": again}))
"""


def test_adding_linking_and_searching_stay_within_the_limit(tmp_path):
    """Links of 520 bytes a row, in pieces of 34 MB: 70,000 rows need two."""
    grown = {}
    for limit in ("64MiB", "none"):
        done = run_child(PROGRAM, str(tmp_path / limit), limit, "70000")
        assert done.returncode == 0, done.stderr
        grown[limit] = json.loads(done.stdout)
    bounded, free = grown["64MiB"], grown["none"]
    assert bounded["peak"] < LIMIT, grown
    assert bounded["linked"]["limit"] == LIMIT
    assert bounded["linked"]["links"] <= LIMIT / 4
    assert bounded["linked"]["working_files"] > 30e6
    assert bounded["again"]["working_files"] > 30e6
    assert free["linked"]["working_files"] == 0
    assert free["linked"]["links"] > 50e6
    assert free["linked"]["limit"] is None


def test_a_limited_database_gives_the_same_answers(tmp_path, rng):
    rows = rng.standard_normal((6000, 16), dtype=np.float32)
    queries = rng.standard_normal((50, 16), dtype=np.float32)
    answers = []
    for limit in (None, LIMIT):
        with srvdb.open(tmp_path / str(limit), mode="hnsw", memory_limit=limit) as db:
            db.add_batch(numbered(len(rows)), rows)
            db.optimize()
            answers.append(db.search_batch(queries, ef=50))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("limit", [0, 1, (64 << 20) - 1, "1MB", "many", -5, True, 1.5])
def test_limits_that_are_too_small_or_no_sizes_are_refused(path, limit):
    with pytest.raises(srvdb.InvalidInputError, match="memory_limit"):
        srvdb.open(path, memory_limit=limit)
    assert not path.exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("512MB", 512_000_000), ("0.5 GiB", 1 << 29), ("100000000", 10**8), (1 << 30, 1 << 30)],
)
def test_limits_are_numbers_or_sizes(path, monkeypatch, given, expected):
    with srvdb.open(path, memory_limit=given) as db:
        assert db.settings.memory_limit == expected
        assert db.stats()["memory"]["limit"] == expected
    monkeypatch.setenv("SVDB_MEMORY_LIMIT", str(given))
    with srvdb.open(path) as db:
        assert db.settings.memory_limit == expected


def test_prefault_and_lock_memory_change_no_answer(path, rng):
    rows = rng.standard_normal((6000, 16), dtype=np.float32)
    with srvdb.open(path, mode="hnsw") as db:
        db.add_batch(numbered(len(rows)), rows)
        db.optimize()
        expected = db.search_batch(rows[:20])
    with srvdb.open(path, prefault=True) as db:
        time.sleep(0.05)
        assert db.search_batch(rows[:20]) == expected
    with srvdb.open(path, read_only=True, prefault=True, lock_memory=True) as db:
        assert db.search_batch(rows[:20]) == expected


def test_memory_that_may_not_be_locked_is_a_clear_error(path, rng):
    rows = rng.standard_normal((6000, 16), dtype=np.float32)
    with srvdb.open(path, mode="hnsw") as db:
        db.add_batch(numbered(len(rows)), rows)
        db.optimize()
    program = """
import resource, sys
import srvdb
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
try:
    with srvdb.open(sys.argv[1], lock_memory=True) as db:
        print("locked")
except srvdb.StorageError as error:
    print(error)
"""
    done = run_child(program, str(path))
    assert done.returncode == 0, done.stderr
    if "locked" not in done.stdout:  # root may lock what it likes
        assert "RLIMIT_MEMLOCK" in done.stdout
        assert "65536" in done.stdout
