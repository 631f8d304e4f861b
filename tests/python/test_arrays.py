"""Input arrays: dtypes, memory orders, no copies; the GIL is released."""

import array
import threading
import time

import numpy as np
import pytest

import srvdb
from helpers import numbered

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64", "longdouble", ">f4", ">f8", ">i2"]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_every_number_dtype_is_taken(db, dtype):
    rows = np.arange(12).reshape(3, 4).astype(dtype)
    db.add(numbered(3), rows)
    records = db.get_records(numbered(3), include=["embedding"])
    assert np.array_equal([record.embedding for record in records], np.arange(12).reshape(3, 4))
    assert db.search(rows[1], k=1).ids == db.search_batch(rows[1:2], k=1)[0].ids == ["1"]


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda rows: np.repeat(rows, 2, axis=0)[::2],
        lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
        lambda rows: rows[::-1][::-1],
        lambda rows: rows.tolist(),
        lambda rows: tuple(map(tuple, rows.tolist())),
        lambda rows: list(rows),
        lambda rows: [array.array("d", row) for row in rows],
        lambda rows: (row for row in rows),
        lambda rows: np.asmatrix(rows),
        lambda rows: np.array(rows.tolist(), dtype=np.float32, order="K"),
    ],
)
def test_every_memory_order_and_nesting_is_taken(db, rng, change):
    rows = rng.normal(size=(5, 3)).astype(np.float32)
    db.add(numbered(5), change(rows))
    records = db.get_records(numbered(5), include=["embedding"])
    assert np.array_equal([record.embedding for record in records], rows)


def test_unaligned_and_read_only_arrays_are_taken(db):
    memory = bytearray(4 * 6 + 1)
    rows = np.frombuffer(memory, dtype=np.uint8)[1:].view(np.float32).reshape(3, 2)
    rows[:] = [[1, 0], [0, 1], [1, 1]]
    rows.flags.writeable = False
    db.add(numbered(3), rows)
    assert db.search(rows[0], k=1) == [("0", 1.0)]


def test_large_integers_lose_only_what_float32_loses(db):
    db.add(["a", "b"], np.array([[2**60 + 1, 1], [1, 2**63]], dtype=np.uint64))
    assert db.get_records(["a"], include=["embedding"])[0].embedding[0] == np.float32(2**60)


def peak_growth(action):
    """Bytes that the process's peak of anonymous memory grows by while the action runs."""
    stop, peak = threading.Event(), [0]

    def anonymous():
        with open("/proc/self/status") as status:  # noqa: PTH123
            line = next(line for line in status if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def watch():
        while not stop.is_set():
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.001)

    before = anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        action()
    finally:
        stop.set()
        watcher.join()
    return peak[0] - before


def test_a_float32_array_goes_in_without_a_copy(path):
    rows = np.random.default_rng(1).random((200_000, 128), dtype=np.float32)  # 98 MiB
    ids = numbered(len(rows))
    with srvdb.open(path, background=False) as db:
        growth = peak_growth(lambda: db.add_batch(ids, rows))
        assert len(db) == len(rows)
    assert growth < rows.nbytes * 3 // 4, f"{growth / 2**20:.0f} MiB"


def test_the_gil_is_released_while_the_core_works(path, rng):
    rows = rng.random((60_000, 128), dtype=np.float32)
    with srvdb.open(path, mode="flat") as db:
        db.add_batch(numbered(len(rows)), rows)
        queries = np.repeat(rows[:1], 400, axis=0)
        done = threading.Event()

        def search():
            db.search_batch(queries, k=10, exact=True)
            done.set()

        worker = threading.Thread(target=search)
        start = time.monotonic()
        worker.start()
        longest, last = 0.0, start
        while not done.is_set():
            time.sleep(0.0005)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        worker.join()
        took = time.monotonic() - start
    assert longest < took / 2, f"Python stood still for {longest:.3f} s of {took:.3f} s"
