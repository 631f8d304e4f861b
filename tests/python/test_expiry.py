"""Rows that expire: one test for each promise, for one database and for shards."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

import srvdb
from helpers import START, UTC, opened


@pytest.mark.parametrize(
    "moment",
    [
        START + timedelta(hours=1),
        (START + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-7))),
        timedelta(hours=1),
        (START + timedelta(hours=1)).timestamp(),
        int((START + timedelta(hours=1)).timestamp()),
        np.float64((START + timedelta(hours=1)).timestamp()),
    ],
)
@pytest.mark.parametrize("verb", ["add", "upsert", "add_batch", "update"])
def test_a_row_is_not_returned_from_its_moment_on(path, kind, clock, moment, verb):
    with opened(kind, path) as db:
        if verb == "update":
            db.add(["stays", "goes"], [[1.0], [2.0]])
            db.update("goes", expires_at=moment)
        else:
            getattr(db, verb)(["stays"], [[1.0]])
            getattr(db, verb)(["goes"], [[2.0]], expires_at=moment)
        record = db.get_records(["goes"])[0]
        assert record.expires_at == START + timedelta(hours=1)
        assert record.expires_at.utcoffset() == timedelta(0)
        clock.forward(minutes=59, seconds=59, milliseconds=999)
        assert len(db.search([1.0])) == 2
        clock.forward(milliseconds=1)
        assert db.search([1.0]).ids == ["stays"]
        assert "goes" not in db
        assert db.get("goes") is None
        assert db.get_records(["goes"], include_deleted=True) == [None]
        assert (list(db), len(db)) == (["stays"], 1)
        assert db.delete(["goes"]) == 0
        assert db.restore(["goes"]) == 0
        assert db.add(["goes"], [[3.0]]) == 1
        assert db.get_records(["goes"])[0].expires_at is None


def test_each_row_may_have_its_own_moment(path, kind, clock):
    moments = [None, srvdb.NEVER, timedelta(seconds=1), START + timedelta(seconds=2)]
    with opened(kind, path) as db:
        db.add(["a", "b", "c", "d"], np.ones((4, 1)), expires_at=moments)
        db.add_batch(["e", "f", "g"], np.ones((3, 1)), expires_at=[None, 2_000_000_000, None])
        records = db.get_records(list("abcdefg"))
        assert [record.expires_at for record in records] == [
            None,
            None,
            START + timedelta(seconds=1),
            START + timedelta(seconds=2),
            None,
            datetime.fromtimestamp(2e9, UTC),
            None,
        ]
        clock.forward(seconds=1)
        assert list(db) == ["a", "b", "d", "e", "f", "g"]
        clock.forward(days=36500)
        assert list(db) == ["a", "b", "e", "g"]


def test_a_large_input_gets_its_moments_row_by_row(path, kind, clock):
    n = 150_000
    moments = [timedelta(seconds=1 + i % 3) for i in range(n)]
    with opened(kind, path) as db:
        rows = np.ones((n, 2), np.float32)
        db.add_batch([str(i) for i in range(n)], rows, expires_at=moments)
        db.add_batch(((f"x{i}", [1, 1]) for i in range(10)), expires_at=timedelta(seconds=2))
        for left in (n // 3 * 2 + 10, n // 3, 0):
            clock.forward(seconds=1)
            assert len(db) == left
        assert db.search([1.0, 1.0]).ids == []


def test_an_expiry_can_be_moved_and_removed(both, clock):
    both.update("a", expires_at=timedelta(seconds=1))
    both.update("a", metadata={"kept": "expiry"})
    both.update("b", expires_at=timedelta(seconds=1))
    both.update("b", expires_at=timedelta(seconds=5))
    both.update("c", expires_at=timedelta(seconds=1))
    both.update("c", expires_at=srvdb.NEVER)
    clock.forward(seconds=1)
    assert list(both) == ["b", "c"]
    clock.forward(seconds=4)
    assert list(both) == ["c"]
    assert both.get_records(["c"])[0].expires_at is None


def test_upsert_takes_the_expiry_away(both, clock):
    both.update("a", expires_at=timedelta(seconds=1))
    both.upsert(["a"], [[1.0, 0.0]])
    clock.forward(days=1)
    assert "a" in both


def test_soft_deleted_rows_expire_too(both, clock):
    both.update("a", expires_at=timedelta(seconds=1))
    both.soft_delete(["a"])
    clock.forward(seconds=2)
    assert both.restore(["a"]) == 0
    assert both.deleted_ids() == []
    assert len(both.search([1.0, 0.0], include_deleted=True)) == 2


def test_expiry_survives_closing(path, kind, clock):
    with opened(kind, path) as db:
        db.add(
            ["a", "b", "c"], np.ones((3, 1)), expires_at=[timedelta(seconds=s) for s in (1, 2, 3)]
        )
        clock.forward(seconds=1)
        assert list(db) == ["b", "c"]
    clock.forward(seconds=1)
    with opened(kind, path) as db:
        assert list(db) == ["c"]
        assert db.get_records(["c"])[0].expires_at == START + timedelta(seconds=3)


def test_naive_datetimes_are_refused_with_what_to_write(both):
    naive = datetime(2040, 1, 1)
    for call in (
        lambda: both.add(["x"], [[1, 1]], expires_at=naive),
        lambda: both.update("a", expires_at=naive),
        lambda: both.change_log(since=naive),
        lambda: both.trim_change_log(naive),
    ):
        with pytest.raises(srvdb.InvalidInputError, match=r"time zone.*timezone\.utc"):
            call()
    with pytest.raises(srvdb.InvalidInputError, match="item 1: expires_at"):
        both.add(["x", "y"], [[1, 1], [1, 1]], expires_at=[None, naive])
    assert list(both) == ["a", "b", "c"]


def test_the_sentinel_shows_its_name():
    assert repr(srvdb.NEVER) == "srvdb.NEVER"
