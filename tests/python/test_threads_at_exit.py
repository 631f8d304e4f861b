"""When threads start, and what happens to those that are inside the database when Python ends."""

import sys

import numpy as np
import pytest

import srvdb
from helpers import run_child

PROGRAM = """
import sys, threading, time
import numpy as np
import srvdb

path, kind = sys.argv[1:]
rows = np.random.default_rng(1).random((3000, 32), dtype=np.float32)
db = srvdb.open(path, mode="flat")
db.add([str(i) for i in range(len(rows))], rows)
calls = {
    "search": lambda: db.search(rows[0], k=5, include=["metadata"]),
    "search_batch": lambda: db.search_batch(rows[:20], k=5),
    "read": lambda: db.get("7"),
}

def loop():
    while True:
        try:
            calls[kind]()
        except srvdb.ClosedError:
            pass

for _ in range(8):
    threading.Thread(target=loop, daemon=True).start()
time.sleep(0.2)
"""


@pytest.mark.parametrize("kind", ["search", "search_batch", "read"])
def test_daemon_threads_in_a_call_do_not_abort_the_exit(path, kind):
    for _ in range(3):
        child = run_child(PROGRAM, str(path.with_name(f"{kind}-{_}")), kind)
        assert (child.returncode, child.stderr) == (0, "")


OPENING = """
import os, sys
import numpy as np
import srvdb

def threads():
    return len(os.listdir("/proc/self/task"))

path, = sys.argv[1:]
before = threads()
with srvdb.open(path) as db:
    assert db.stats()["searching"] == "hnsw"
    assert len(db.search(np.ones(16, dtype=np.float32), k=3)) == 3
    print(threads() - before)
    db.add(["new"], [[0.5] * 16])
    print(threads() - before > 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_opening_and_searching_what_is_linked_starts_no_thread(path):
    rows = np.random.default_rng(1).random((3000, 16), dtype=np.float32)
    with srvdb.open(path, mode="hnsw") as db:
        db.add([str(i) for i in range(len(rows))], rows)
        db.optimize()
    child = run_child(OPENING, str(path))
    assert (child.stdout.split(), child.stderr) == (["0", "True"], "")
