"""Daemon threads that are inside the database when Python ends do not end the process with it."""

import pytest

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
