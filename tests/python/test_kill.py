"""kill -9 at random moments: acknowledged rows are there, batches are whole."""

import random
import time

import numpy as np
import pytest

import srvdb
from helpers import end_child, start_child

PROGRAM = """
import sys, random
import numpy as np
import srvdb

path, durability, first, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random.seed(seed)
db = srvdb.open(path, durability=durability, auto_flush_threshold=100)
batch = first
while True:
    n = random.choice([1, 3, 50, 400])
    rows = np.full((n, 16), batch, dtype=np.float32)
    rows[:, 0] = np.arange(n)
    db.add([f"{batch}-{i}" for i in range(n)], rows, [{"batch": batch, "n": n}] * n)
    print("add", batch, n, flush=True)
    if batch % 7 == 3:
        db.delete([f"{batch}-0"])
        print("delete", batch, flush=True)
    if batch % 50 == 49:
        db.persist()
    batch += 1
"""


def check(db, added, deleted):
    """Everything acknowledged is there; what was in flight is there wholly or not at all."""
    batches = {}
    for record in db.scroll(limit=10**9, include=("metadata", "embedding")):
        batch, i = map(int, record.id.split("-"))
        assert record.metadata["batch"] == batch
        assert record.embedding[0] == i
        assert (record.embedding[1:] == batch).all()
        batches.setdefault(batch, []).append(i)
    for batch, n in added.items():
        first = 1 if batch in deleted else 0
        found = sorted(batches.get(batch, []))
        in_flight_delete = batch == max(added) and found == list(range(1, n))
        assert found == list(range(first, n)) or in_flight_delete, f"batch {batch}"
    for batch in set(batches) - set(added):
        assert batch == max(added, default=-1) + 1
        n = db.get_records([f"{batch}-0"])[0].metadata["n"]
        assert sorted(batches[batch]) == list(range(n))
        added[batch] = n
    assert len(db) == sum(map(len, batches.values()))


@pytest.mark.parametrize("durability", ["os", "disk"])
def test_acknowledged_rows_survive_kill_9(path, durability):
    random.seed(11)
    added, deleted = {}, set()
    for round_number in range(4):
        first = max(added, default=-1) + 1
        child = start_child(PROGRAM, str(path), durability, str(first), str(round_number))
        lines = [child.stdout.readline()]
        time.sleep(random.uniform(0.02, 0.25))
        child.kill()
        lines += end_child(child)[0].splitlines()
        for line in lines:
            match line.split():
                case ["add", batch, n]:
                    added[int(batch)] = int(n)
                case ["delete", batch]:
                    deleted.add(int(batch))
        with srvdb.open(path) as db:
            check(db, added, deleted)
            if db.get_records([f"{max(added)}-0"])[0] is None:
                deleted.add(max(added))
    assert len(added) > 20
    with srvdb.open(path) as db:
        check(db, added, deleted)
        query = np.full(16, max(added), dtype=np.float32)
        assert len(db.search(query, k=5, exact=True)) == 5


def test_memory_durability_keeps_what_was_persisted(path):
    code = (
        "import sys, os, srvdb\n"
        "db = srvdb.open(sys.argv[1], durability='memory')\n"
        "db.add(['kept'], [[1.0]])\ndb.persist()\ndb.add(['maybe'], [[2.0]])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    child = start_child(code, str(path))
    end_child(child)
    with srvdb.open(path) as db:
        assert "kept" in db


def test_a_snapshot_of_nothing_survives_kill_9(path):
    code = (
        "import sys, os, srvdb\n"
        "db = srvdb.open(sys.argv[1])\n"
        "db.create_snapshot('empty')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    end_child(start_child(code, str(path)))
    with srvdb.open(path) as db:  # no dimension is known, and there is a record to replay
        assert [kept.name for kept in db.list_snapshots()] == ["empty"]
        assert len(db) == 0
