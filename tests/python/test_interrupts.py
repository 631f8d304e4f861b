"""Ctrl-C stops long calls within a second and leaves the database usable."""

import signal
import time

import pytest

import srvdb
from helpers import end_child, start_child

PROGRAM = """
import signal, sys, time
import numpy as np
import srvdb

signal.signal(signal.SIGINT, signal.default_int_handler)
path, call = sys.argv[1:]
rng = np.random.default_rng(1)
db = srvdb.open(path, mode="hnsw" if call == "optimize" else "flat", background=False)

def more():
    i = 0
    while True:
        yield [str(j) for j in range(i, i + 1000)], rng.random((1000, 128), dtype=np.float32)
        i += 1000

if call != "add_batch":
    rows = rng.random((60_000, 128), dtype=np.float32)
    db.add_batch([f"r{i}" for i in range(len(rows))], rows)
queries = rng.random((20_000, 128), dtype=np.float32)
calls = {
    "add_batch": lambda: db.add_batch(more()),
    "optimize": lambda: db.optimize(threads=1),
    "search_batch": lambda: db.search_batch(queries, exact=True),
    "sharded": lambda: None,
    "one shard": lambda: None,
}
if call in ("sharded", "one shard"):
    number = 2 if call == "sharded" else 1
    shards = srvdb.ShardedDatabase(path + "-shards", shards=number, mode="flat")
    shards.add_batch([f"r{i}" for i in range(len(rows))], rows)
    calls[call] = lambda: shards.search_batch(queries, exact=True)
print("ready", flush=True)
start = time.monotonic()
try:
    calls[call]()
    print("ended by itself", time.monotonic() - start)
except KeyboardInterrupt as error:
    print("stopped", getattr(error, "added", None), len(db), flush=True)
if call in ("sharded", "one shard"):
    start = time.monotonic()
    shards.close()  # waits for the searches of the shards, which were stopped too
    assert time.monotonic() - start < 1, "the shards went on searching"
db.add(["after"], [[1.0] * 128])
print(db.search([1.0] * 128, k=1).ids, "after" in db)
db.close()
print("closed")
"""


@pytest.mark.parametrize("call", ["add_batch", "optimize", "search_batch", "sharded", "one shard"])
def test_ctrl_c_stops_within_a_second(path, call):
    child = start_child(PROGRAM, str(path), call)
    try:
        ready = child.stdout.readline()
        assert ready == "ready\n", ready + child.stderr.read()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        sent = time.monotonic()
        line = child.stdout.readline().split()
        took = time.monotonic() - sent
        rest, errors = end_child(child)
    finally:
        child.kill()
    assert line[:1] == ["stopped"], " ".join(line) + errors
    assert took < 1.0
    assert rest == "['after'] True\nclosed\n", rest + errors
    if call == "add_batch":
        assert line[1] == line[2]
        assert int(line[1]) > 0
    assert child.returncode == 0
    with srvdb.open(path) as db:
        assert "after" in db


def test_a_stopped_graph_is_valid_and_can_be_finished(path):
    child = start_child(PROGRAM, str(path), "optimize")
    child.stdout.readline()
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    end_child(child)
    with srvdb.open(path) as db:
        before = db.search([1.0] * 128, k=5)
        assert before.ids[0] == "after"
        assert db.stats()["count"] == 60_001
