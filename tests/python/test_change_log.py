"""The change log: one test for each promise."""

from datetime import timedelta

import pytest

import srvdb
from helpers import START, operations


def change_everything(db, clock):
    """One change of every kind, a second apart."""
    for change in (
        lambda: db.add(["a", "b"], [[1.0], [2.0]], [{"n": 1}, None]),
        lambda: db.upsert(["b"], [[3.0]]),
        lambda: db.update("a", metadata={"n": 2}),
        lambda: db.batch_update([("a", [4.0])]),
        lambda: db.soft_delete(["a"]),
        lambda: db.restore(["a"]),
        lambda: db.delete(["a"]),
    ):
        clock.forward(seconds=1)
        change()


WANTED = ["add", "upsert", "update", "update", "soft_delete", "restore", "delete"]


def test_the_change_log_tells_what_was_done_when_and_to_which_rows(path, clock):
    with srvdb.open(path) as db:
        change_everything(db, clock)
        log = db.change_log()
    assert operations(log) == WANTED
    assert [entry.sequence for entry in log] == list(range(1, 8))
    assert [entry.time for entry in log] == [START + timedelta(seconds=s) for s in range(1, 8)]
    assert log[0].time.utcoffset() == timedelta(0)
    assert log[0].ids == ("a", "b")
    assert {entry.ids for entry in log[2:]} == {("a",)}
    assert log[3].details == {"embeddings": 1, "metadatas": 0, "expiries": 0}
    assert log[4].details is None
    assert "vector" not in repr(log)
    with pytest.raises(AttributeError):
        log[0].operation = "nothing"


def test_the_change_log_of_shards_is_in_order_of_time(path, clock):
    with srvdb.ShardedDatabase(path, shards=3) as db:
        change_everything(db, clock)
        log = db.change_log()
        assert operations(log)[-6:] == WANTED[1:]
        assert [entry.time for entry in log] == sorted(entry.time for entry in log)
        assert {entry.shard for entry in log} == {db.shard_of("a"), db.shard_of("b")}
        assert operations(db.change_log(2)) == ["restore", "delete"]
        since = START + timedelta(seconds=3)
        assert operations(db.change_log(since=since)) == WANTED[2:]
        assert operations(db.change_log(1, since=since)) == ["update"]
        assert db.trim_change_log(since) == len(log) - 5
        assert set(operations(db.change_log())) >= set(WANTED[2:])
        for call in (lambda: db.change_log(since=1), lambda: db.trim_change_log(1)):
            with pytest.raises(srvdb.InvalidInputError, match="each shard"):
                call()


def test_the_change_log_is_read_from_the_end_or_from_a_point_on(path, clock):
    with srvdb.open(path) as db:
        change_everything(db, clock)
        assert operations(db.change_log(2)) == ["restore", "delete"]
        assert operations(db.change_log(limit=None)) == WANTED
        assert operations(db.change_log(2, since=1)) == ["upsert", "update"]
        assert operations(db.change_log(since=7)) == []
        assert operations(db.change_log(since=START + timedelta(seconds=6))) == WANTED[5:]
        assert operations(db.change_log(since=START)) == WANTED
        assert operations(db.change_log(since=START + timedelta(hours=1))) == []
        assert operations(db.change_log(operation="update")) == ["update", "update"]
        assert db.change_log(1, since=3, operation="update")[0].sequence == 4
        page, seen = db.change_log(3, since=0), []
        while page:
            seen += page
            page = db.change_log(3, since=page[-1].sequence)
        assert operations(seen) == WANTED


def test_the_change_log_is_not_bounded_and_survives_closing(path):
    with srvdb.open(path) as db:
        for i in range(700):
            db.upsert(["a"], [[float(i)]])
        assert len(db.change_log()) == 50
    with srvdb.open(path) as db:
        log = db.change_log(None)
        assert [entry.sequence for entry in log] == list(range(1, 701))
        assert db.change_log(1) == log[-1:]


def test_what_changed_nothing_is_not_logged(path):
    with srvdb.open(path) as db:
        db.add(["a"], [[1.0]])
        for call in (
            lambda: db.delete(["x"]),
            lambda: db.soft_delete(["x"]),
            lambda: db.restore(["a"]),
            lambda: db.batch_update([]),
            lambda: db.add([], []),
        ):
            assert call() == 0
        for call in (lambda: db.add(["a"], [[1.0]]), lambda: db.update("x", [1.0])):
            with pytest.raises(srvdb.SrvDBError):
                call()
        assert operations(db.change_log()) == ["add"]


def test_trimming_the_change_log_is_explicit_and_logged(path, clock):
    with srvdb.open(path) as db:
        change_everything(db, clock)
        assert db.trim_change_log(3) == 2
        assert operations(db.change_log()) == [*WANTED[2:], "trim_change_log"]
        assert db.trim_change_log(3) == 0
        assert db.trim_change_log(before=START + timedelta(seconds=5)) == 2
        assert operations(db.change_log())[0] == "soft_delete"
    with srvdb.open(path) as db:
        assert operations(db.change_log())[:3] == ["soft_delete", "restore", "delete"]
        assert db.change_log(1)[0].sequence == 9
