"""Threads: eight search while one adds; a batch is seen wholly or not at all."""

import contextlib
import threading
import time

import numpy as np
import pytest

import srvdb
from helpers import numbered


def run(workers, seconds):
    """Run every worker(stop) in a thread of its own for some time; their errors are raised here."""
    stop, errors = threading.Event(), []

    def guard(worker):
        try:
            worker(stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guard, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("mode", ["flat", "hnsw"])
def test_eight_threads_search_while_one_adds(path, rng, mode):
    rows = rng.random((40_100, 16), dtype=np.float32)
    seen = [0] * 8
    with srvdb.open(path, mode=mode) as db:
        db.add(numbered(100), rows[:100])
        added = [100]

        def add(stop):
            while not stop.is_set() and added[0] < len(rows):
                n = added[0]
                db.add(numbered(200, n), rows[n : n + 200], [{"i": i} for i in range(n, n + 200)])
                added[0] = n + 200

        def search(number, stop):
            generator = np.random.default_rng(number)
            while not stop.is_set():
                i = int(generator.integers(added[0]))
                hits = db.search(rows[i], k=5, exact=number % 2 == 0)
                assert len(hits) == 5
                assert [hit.score for hit in hits] == sorted(hits.scores, reverse=True)
                if number % 2 == 0:
                    assert str(i) in hits.ids
                before = added[0]
                assert len(db) >= before
                seen[number] += 1

        run([add, *(lambda stop, n=n: search(n, stop) for n in range(8))], 2.5)
        assert len(db) == added[0] > 1000
        assert min(seen) > 3
        db.optimize()
        sample = range(0, added[0], added[0] // 50)
        found = sum(db.search(rows[i], k=1).ids == [str(i)] for i in sample)
        assert found >= 0.95 * len(sample)


def test_a_batch_is_seen_wholly_or_not_at_all(path):
    size = 37
    with srvdb.open(path, metric="l2") as db:
        db.add([f"{i}" for i in range(size)], np.zeros((size, 4)))

        def replace(stop):
            version = 0
            while not stop.is_set():
                version += 1
                rows = np.full((size, 4), version, dtype=np.float32)
                db.upsert([f"{i}" for i in range(size)], rows)

        def add_and_delete(stop):
            number = 0
            while not stop.is_set():
                number += 1
                ids = [f"x{number}-{i}" for i in range(size)]
                db.add(ids, np.full((size, 4), -1.0))
                assert db.delete(ids) == size

        def search(stop):
            while not stop.is_set():
                hits = db.search(np.zeros(4), k=10 * size, include=["embedding"])
                versions = {hit.embedding[0] for hit in hits if hit.id[0] != "x"}
                assert len(versions) == 1, "rows of two versions in one answer"
                assert len([hit for hit in hits if hit.id[0] != "x"]) == size
                extra = {hit.id.split("-")[0] for hit in hits if hit.id[0] == "x"}
                assert len(hits) == size * (1 + len(extra)), "half a batch in one answer"

        run([replace, add_and_delete, search, search], 2.5)


def test_close_waits_for_running_calls(path, rng):
    rows = rng.random((20_000, 64), dtype=np.float32)
    db = srvdb.open(path, mode="flat")
    db.add(numbered(20_000), rows)
    answers = []
    started = threading.Event()

    def search():
        started.set()
        try:
            answers.append(len(db.search_batch(rows[:200], k=3, exact=True)))
        except srvdb.ClosedError:
            answers.append("closed")

    thread = threading.Thread(target=search)
    thread.start()
    started.wait()
    time.sleep(0.01)
    db.close()
    thread.join()
    assert answers in ([200], ["closed"])


def test_ids_changed_by_another_thread_do_no_harm(db):
    rows = np.random.default_rng(1).random((20_000, 32), dtype=np.float32)
    ids = [f"é{i}" for i in range(20_000)]

    def clear():
        time.sleep(0.005)
        ids.clear()

    thread = threading.Thread(target=clear)
    thread.start()
    added = 0
    with contextlib.suppress(srvdb.InvalidInputError):
        added = db.add(ids, rows)
    thread.join()
    assert len(db) == added in (0, 20_000)
