"""add_batch: any size, any shape of input; says how many were added when it is stopped."""

import json

import numpy as np
import pytest

import srvdb
from helpers import numbered


@pytest.fixture
def rows(rng):
    return rng.normal(size=(2000, 8)).astype(np.float32)


def same(db, rows, metadata=True):
    records = db.get_records(numbered(len(rows)), include=("metadata", "embedding"))
    for i, record in enumerate(records):
        assert np.array_equal(record.embedding, rows[i])
        assert record.metadata == ({"i": i} if metadata else {})
    assert len(db) == len(rows)


METADATA = [{"i": i} for i in range(2000)]
TEXT = [json.dumps(m) for m in METADATA]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda rows: (numbered(2000), rows, METADATA),
        lambda rows: (tuple(numbered(2000)), rows.astype(np.float64), TEXT),
        lambda rows: (numbered(2000), rows.tolist(), tuple(METADATA)),
        lambda rows: (numbered(2000), np.asfortranarray(rows), METADATA),
        lambda rows: (np.array(numbered(2000)), list(rows), np.array(METADATA, dtype=object)),
        lambda rows: (iter(numbered(2000)), iter(rows), iter(TEXT)),
        lambda rows: (zip(numbered(2000), rows, METADATA, strict=True),),
        lambda rows: ([(str(i), rows[i].tolist(), TEXT[i]) for i in range(2000)],),
        lambda rows: (
            (numbered(100, i), rows[i : i + 100], METADATA[i : i + 100])
            for i in range(0, 2000, 100)
        ),
        lambda rows: (
            [(np.array(numbered(500, i)), rows[i : i + 500].tolist(), TEXT[i : i + 500])
             for i in range(0, 2000, 500)],
        ),
    ],
)  # fmt: skip
def test_every_shape_of_input_adds_the_same(db, rows, make, threads):
    arguments = make(rows)
    if not isinstance(arguments, tuple):
        arguments = (arguments,)
    assert db.add_batch(*arguments, threads=threads) == 2000
    same(db, rows)


def test_rows_without_metadata(db, rows):
    assert db.add_batch((str(i), row) for i, row in enumerate(rows)) == 2000
    same(db, rows, metadata=False)


def test_empty_input(db):
    assert db.add_batch([], []) == 0
    assert db.add_batch(iter(())) == 0
    assert db.add_batch([], np.empty((0, 8), np.float32), []) == 0


def test_upsert_by_batch(db, rows):
    db.add(["5"], [[0.0] * 8])
    with pytest.raises(srvdb.DuplicateIdError):
        db.add_batch(numbered(2000), rows)
    assert db.add_batch(numbered(2000), rows, METADATA, upsert=True) == 2000
    same(db, rows)


def test_more_than_one_atomic_batch_holds(db):
    rows = np.random.default_rng(1).random((250_000, 4), dtype=np.float32)
    assert db.add_batch(numbered(250_000), rows) == 250_000
    assert len(db) == 250_000
    assert db.search(rows[249_999], k=1, exact=True).ids == ["249999"]


def test_large_metadata_is_cut_by_bytes(db):
    big = {"text": "x" * 900_000}
    assert db.add_batch(numbered(100), np.ones((100, 2)), [big] * 100) == 100
    assert len(db.get("99")) > 900_000


def test_refused_in_the_middle_it_says_how_many_were_added(path, rng):
    rows = rng.normal(size=(140_000, 4)).astype(np.float32)
    rows[130_000, 2] = np.nan
    with srvdb.open(path) as db:
        with pytest.raises(srvdb.InvalidInputError, match="item 130000") as caught:
            db.add_batch(numbered(140_000), rows)
        assert 0 < caught.value.added < 130_000
        assert len(db) == caught.value.added
        assert list(db.get_records(numbered(caught.value.added))[-1:]) != [None]
    with srvdb.open(path) as db:
        assert len(db) == caught.value.added


def test_a_generator_that_fails_says_how_many_were_added(db):
    def rows():
        for i in range(200_000):
            yield str(i), [i, 1.0]
        raise OSError("source is gone")

    with pytest.raises(OSError, match="source is gone") as caught:
        db.add_batch(rows())
    assert caught.value.added == len(db) >= 131_072


def test_item_numbers_count_over_the_whole_input(db):
    def chunks():
        yield ["a", "b"], np.ones((2, 2))
        yield ["c", 4], np.ones((2, 2))

    with pytest.raises(srvdb.InvalidInputError, match="item 3") as caught:
        db.add_batch(chunks())
    assert caught.value.added == 2
    with pytest.raises(srvdb.InvalidInputError, match="item 1"):
        db.add_batch([("d", [1, 2]), ("e", [1, "x"])])
    with pytest.raises(srvdb.InvalidInputError, match="item 1"):
        db.add_batch([("d", [1, 2]), "e"])


def test_progress_is_reported(db, rows, capsys):
    seen = []
    db.add_batch(numbered(2000), rows, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2000, 2000)
    db.add_batch(((f"g{i}", [0.0] * 8) for i in range(10)), progress=True)
    assert "10 rows" in capsys.readouterr().err
    db.add_batch([f"h{i}" for i in range(10)], rows[:10], progress=True)
    assert "100% 10/10" in capsys.readouterr().err


def test_what_a_progress_callable_raises_stops_it(db, rows):
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        db.add_batch(numbered(2000), rows, progress=stop)
    assert caught.value.added == len(db)
    db.set_mode("hnsw")
    db.add([f"x{i}" for i in range(3000)], np.random.default_rng(3).random((3000, 8)))
    with pytest.raises(RuntimeError, match="enough"):
        db.optimize(progress=stop)
    db.optimize()
    assert db.stats()["unlinked_rows"] == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("view", [np.asarray, memoryview])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_generator_may_refill_its_buffers(db, rows, threads, view, dtype):
    buffer, ids, metadatas = np.empty((100, 8), dtype), [], []

    def chunks():
        for i in range(0, 2000, 100):
            buffer[:] = rows[i : i + 100]
            ids[:] = numbered(100, i)
            metadatas[:] = METADATA[i : i + 100]
            yield ids, view(buffer), metadatas

    assert db.add_batch(chunks(), threads=threads) == 2000
    same(db, rows)


def test_a_piece_that_is_refused_comes_after_those_before_it(db):
    chunks = [(["a"], [[1.0, 2.0]]), (["b"], [[1.0, "x"]])]
    with pytest.raises(srvdb.InvalidInputError, match="item 1") as caught:
        db.add_batch(iter(chunks), threads=2)
    assert caught.value.added == len(db) == 1


def test_what_the_last_progress_report_of_optimize_raises_is_seen(db, rows):
    def stop_at_the_end(done, total):
        if done == total:
            raise RuntimeError("at the end")

    db.set_mode("hnsw")
    db.add(numbered(2000), rows)
    with pytest.raises(RuntimeError, match="at the end"):
        db.optimize(progress=stop_at_the_end)
    assert db.stats()["unlinked_rows"] == 0
