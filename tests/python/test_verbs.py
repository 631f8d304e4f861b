"""Update, soft delete, restore, expiry, change log: one test for each promise, for one database
and for shards."""

import json
import math
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

import srvdb
from srvdb._native import set_clock_for_tests

UTC = timezone.utc
START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


class Clock:
    """The time of day as the databases of this process see it."""

    def __init__(self):
        self.now = START
        self.set(START)

    def set(self, now):
        self.now = now
        set_clock_for_tests(round(now.timestamp() * 1e6))

    def forward(self, **how_far):
        self.set(self.now + timedelta(**how_far))


@pytest.fixture
def clock():
    yield Clock()
    set_clock_for_tests(None)


@pytest.fixture(params=["one", "sharded"])
def kind(request):
    return request.param


def opened(kind, path, **options):
    if kind == "one":
        return srvdb.open(path, **options)
    return srvdb.ShardedDatabase(path, shards=3, **options)


@pytest.fixture
def abc(path, kind):
    """Rows a, b, c of two dimensions, with metadata; in one database, and in three shards."""
    with opened(kind, path) as database:
        database.add(
            ["a", "b", "c"],
            [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
            [{"year": 2024}, {"year": 2025}, {"year": 2026}],
        )
        yield database


def vectors(db, ids, **options):
    records = db.get_records(list(ids), include="embedding", **options)
    return [None if record is None else record.embedding.tolist() for record in records]


# ---- update --------------------------------------------------------------------------------------


def test_update_of_the_embedding_keeps_metadata_and_expiry(abc, clock):
    abc.update("a", expires_at=START + timedelta(days=1))
    assert abc.update("a", [3.0, 4.0]) == 1
    record = abc.get_records(["a"], include=("metadata", "embedding"))[0]
    assert record.metadata == {"year": 2024}
    assert record.embedding.tolist() == [3.0, 4.0]
    assert record.expires_at == START + timedelta(days=1)
    assert len(abc) == 3


def test_update_of_the_metadata_keeps_the_embedding_and_writes_no_row(abc):
    rows = abc.stats()["rows"]
    assert abc.update("a", metadata={"n": 1}) == 1
    assert abc.update("b", metadata='{"n":  2}') == 1
    assert abc.update("c", metadata={}) == 1
    assert [abc.get(id) for id in "abc"] == ['{"n": 1}', '{"n":  2}', "{}"]
    assert vectors(abc, ["a"]) == [[1.0, 0.0]]
    assert abc.stats()["rows"] == rows


def test_an_updated_row_is_found_at_its_new_place(abc):
    abc.update("a", [0.0, -1.0])
    assert abc.search([0.0, -1.0], k=1).ids == ["a"]
    assert abc.search([1.0, 0.0], k=1).ids == ["c"]
    assert len(abc.search([1.0, 0.0], k=10)) == 3


@pytest.mark.parametrize(
    "embedding",
    [[3, 4], (3.0, 4.0), np.array([3, 4]), np.array([3, 4], dtype=np.float16), range(3, 5)],
)
def test_update_takes_every_form_of_a_vector(abc, embedding):
    abc.update("b", embedding)
    assert vectors(abc, ["b"]) == [[3.0, 4.0]]


def test_updates_survive_closing(path, kind):
    with opened(kind, path) as db:
        db.add(["a", "b"], [[1.0], [2.0]], [{"n": 1}, {"n": 2}])
        db.update("a", [5.0])
        db.update("b", metadata={"n": 3})
    with opened(kind, path) as db:
        assert vectors(db, ["a", "b"]) == [[5.0], [2.0]]
        assert [json.loads(db.get(id)) for id in "ab"] == [{"n": 1}, {"n": 3}]


def test_update_of_an_unknown_id_is_not_found(abc):
    with pytest.raises(srvdb.NotFoundError, match="'x'") as caught:
        abc.update("x", [1.0, 1.0])
    assert caught.value.ids == ("x",)
    assert isinstance(caught.value, KeyError)


def test_update_of_a_soft_deleted_row_is_not_found_and_says_why(abc):
    abc.soft_delete(["a"])
    with pytest.raises(srvdb.NotFoundError, match=r"'a'.*soft-deleted.*restore") as caught:
        abc.update("a", metadata={})
    assert caught.value.ids == ("a",)


def test_batch_update_takes_dicts_and_tuples(abc, clock):
    moment = START + timedelta(hours=1)
    assert (
        abc.batch_update(
            [
                {"id": "a", "embedding": [0.0, 2.0], "metadata": None},
                ("b", None, {"n": 2}),
                ["c", np.array([5.0, 6.0]), None, moment],
            ]
        )
        == 3
    )
    assert vectors(abc, "abc") == [[0.0, 2.0], [0.0, 1.0], [5.0, 6.0]]
    records = abc.get_records(["a", "b", "c"])
    assert [record.metadata for record in records] == [{"year": 2024}, {"n": 2}, {"year": 2026}]
    assert [record.expires_at for record in records] == [None, None, moment]
    assert abc.batch_update({"id": id, "metadata": {}} for id in "ab") == 2
    assert abc.batch_update([]) == 0


def test_batch_update_with_unknown_ids_changes_nothing_and_lists_them_all(abc):
    abc.soft_delete(["c"])
    updates = [("a", [9.0, 9.0]), ("b", [9.0, 9.0]), ("c", [9.0, 9.0])]
    updates += [(f"unknown {i}", [9.0, 9.0]) for i in range(50)]
    with pytest.raises(srvdb.NotFoundError, match="51 ids") as caught:
        abc.batch_update(updates)
    assert caught.value.ids == ("c", *(f"unknown {i}" for i in range(50)))
    assert vectors(abc, "abc", include_deleted=True) == [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


def test_update_costs_no_rebuild(path, rng):
    rows = rng.random((3000, 16), dtype=np.float32)
    with srvdb.open(path, mode="hnsw") as db:
        db.add([str(i) for i in range(3000)], rows)
        db.optimize()
        for i in range(20):
            db.update(str(i), metadata={"i": i})
        assert db.stats()["linked_rows"] == db.stats()["rows"] == 3000
        db.update("7", rows[7] + 1)
        assert db.stats()["rows"] == 3001
        assert db.stats()["linked_rows"] >= 3000


# ---- soft delete ---------------------------------------------------------------------------------


def test_soft_deleted_rows_are_gone_from_everything_at_once(abc):
    assert abc.soft_delete(["a", "nobody"]) == 1
    assert abc.soft_delete(["a"]) == 0
    assert "a" not in abc
    assert abc.get("a") is None
    assert abc.get_records(["a"]) == [None]
    assert list(abc) == ["b", "c"]
    assert [record.id for record in abc.scroll()] == ["b", "c"]
    assert (len(abc), abc.count()) == (2, 2)
    assert abc.search([1.0, 0.0]).ids == ["c", "b"]
    assert [hits.ids for hits in abc.search_batch([[1.0, 0.0]])] == [["c", "b"]]
    assert abc.search([1.0, 0.0], exact=True).ids == ["c", "b"]
    assert abc.deleted_ids() == ["a"]


def test_soft_deleted_rows_are_there_for_who_asks(abc):
    abc.soft_delete(["a"])
    assert abc.search([1.0, 0.0], include_deleted=True).ids == ["a", "c", "b"]
    assert abc.search_batch([[1.0, 0.0]], include_deleted=True)[0].ids == ["a", "c", "b"]
    gone, there = abc.get_records(["a", "b"], include_deleted=True)
    assert (gone.id, gone.metadata, gone.deleted) == ("a", {"year": 2024}, True)
    assert there.deleted is False


def test_restore_brings_back_everything(abc):
    before = abc.search([1.0, 0.0], include=("metadata", "embedding"))
    abc.soft_delete(["c", "a"])
    assert abc.restore(["a", "c", "b", "nobody"]) == 2
    assert abc.restore(["a"]) == 0
    assert abc.search([1.0, 0.0]) == before
    assert abc.get("a") == '{"year": 2024}'
    assert abc.deleted_ids() == []


def test_deleted_ids_are_in_order(path, kind):
    with opened(kind, path) as db:
        ids = [f"row {i}" for i in range(100)]
        db.add(ids, np.ones((100, 2)))
        db.soft_delete(ids[::-3])
        assert db.deleted_ids() == sorted(ids[::-3])


def test_soft_deletion_survives_closing(path, kind):
    with opened(kind, path) as db:
        db.add(["a", "b"], [[1.0], [2.0]])
        db.soft_delete(["a"])
    with opened(kind, path) as db:
        assert db.deleted_ids() == ["a"]
        assert list(db) == ["b"]
        db.restore(["a"])
    with opened(kind, path) as db:
        assert list(db) == ["a", "b"]


def test_add_of_a_soft_deleted_id_is_refused_and_says_so(abc):
    abc.soft_delete(["b"])
    with pytest.raises(srvdb.DuplicateIdError, match=r"item 1.*'b'.*soft-deleted"):
        abc.add(["x", "b"], [[1.0, 1.0], [1.0, 1.0]])
    assert abc.deleted_ids() == ["b"]
    assert "x" not in abc


def test_upsert_of_a_soft_deleted_id_makes_it_live(abc):
    abc.soft_delete(["b"])
    abc.upsert(["b"], [[7.0, 7.0]], [{"n": 1}])
    assert abc.deleted_ids() == []
    assert vectors(abc, ["b"]) == [[7.0, 7.0]]
    assert abc.get("b") == '{"n": 1}'


def test_deleted_rows_cannot_be_restored(abc):
    abc.soft_delete(["a"])
    assert abc.delete(["a", "b"]) == 2
    assert abc.restore(["a", "b"]) == 0
    assert abc.deleted_ids() == []
    assert abc.add(["a"], [[1.0, 0.0]]) == 1


def test_what_is_soft_deleted_is_counted(abc):
    abc.soft_delete(["a"])
    abc.delete(["b"])
    stats = abc.stats()
    assert (stats["count"], stats["rows"], stats["soft_deleted"], stats["gone"]) == (1, 3, 1, 1)
    assert math.isclose(stats["deleted_share"], 1 / 3)
    assert "soft_deleted=1" in repr(abc)
    assert abc.info().endswith("vectors=1, deleted=1)")
    assert "soft_deleted" in abc._repr_html_()


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("mode", ["flat", "hnsw", "sq8"])
def test_a_search_finds_k_rows_whatever_is_soft_deleted(path, rng, mode, share):
    rows = rng.random((2000, 8), dtype=np.float32)
    ids = np.array([f"{i:04}" for i in range(2000)])
    with srvdb.open(path, mode=mode, metric="l2") as db:
        db.add(ids.tolist(), rows)
        db.optimize()
        hidden = rng.random(2000) < share
        db.soft_delete(ids[hidden].tolist())
        live = np.flatnonzero(~hidden)
        found = right = 0
        for query in rows[:50] + np.float32(0.01):
            hits = db.search(query, k=10)
            assert len(hits) == 10
            assert not hidden[[int(id) for id in hits.ids]].any()
            true = live[np.argsort(((rows[live] - query) ** 2).sum(axis=1))[:10]]
            right += len(set(hits.ids) & set(ids[true]))
            found += 10
        assert right / found > 0.97
        assert len(db.search(rows[0], k=5000)) == len(live)


# ---- expiry --------------------------------------------------------------------------------------


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


def test_an_expiry_can_be_moved_and_removed(abc, clock):
    abc.update("a", expires_at=timedelta(seconds=1))
    abc.update("a", metadata={"kept": "expiry"})
    abc.update("b", expires_at=timedelta(seconds=1))
    abc.update("b", expires_at=timedelta(seconds=5))
    abc.update("c", expires_at=timedelta(seconds=1))
    abc.update("c", expires_at=srvdb.NEVER)
    clock.forward(seconds=1)
    assert list(abc) == ["b", "c"]
    clock.forward(seconds=4)
    assert list(abc) == ["c"]
    assert abc.get_records(["c"])[0].expires_at is None


def test_upsert_takes_the_expiry_away(abc, clock):
    abc.update("a", expires_at=timedelta(seconds=1))
    abc.upsert(["a"], [[1.0, 0.0]])
    clock.forward(days=1)
    assert "a" in abc


def test_soft_deleted_rows_expire_too(abc, clock):
    abc.update("a", expires_at=timedelta(seconds=1))
    abc.soft_delete(["a"])
    clock.forward(seconds=2)
    assert abc.restore(["a"]) == 0
    assert abc.deleted_ids() == []
    assert len(abc.search([1.0, 0.0], include_deleted=True)) == 2


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


def test_naive_datetimes_are_refused_with_what_to_write(abc):
    naive = datetime(2040, 1, 1)
    for call in (
        lambda: abc.add(["x"], [[1, 1]], expires_at=naive),
        lambda: abc.update("a", expires_at=naive),
        lambda: abc.change_log(since=naive),
        lambda: abc.trim_change_log(naive),
    ):
        with pytest.raises(srvdb.InvalidInputError, match=r"time zone.*timezone\.utc"):
            call()
    with pytest.raises(srvdb.InvalidInputError, match="item 1: expires_at"):
        abc.add(["x", "y"], [[1, 1], [1, 1]], expires_at=[None, naive])
    assert list(abc) == ["a", "b", "c"]


def test_the_sentinel_shows_its_name():
    assert repr(srvdb.NEVER) == "srvdb.NEVER"


# ---- change log ----------------------------------------------------------------------------------


def operations(entries):
    return [entry.operation for entry in entries]


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


# ---- compaction ----------------------------------------------------------------------------------


def test_compact_drops_what_is_gone_and_keeps_the_rest(path, kind, clock, rng):
    rows = rng.random((6000, 32), dtype=np.float32)
    ids = [f"{i:04}" for i in range(6000)]
    with opened(kind, path, metric="l2") as db:
        db.add(ids, rows, [{"i": i} for i in range(6000)])
        db.delete(ids[:2000])
        db.soft_delete(ids[2000:2010])
        db.update("2500", rows[0])
        db.update("2501", expires_at=timedelta(seconds=1))
        db.update("2502", expires_at=timedelta(seconds=100))
        clock.forward(seconds=2)
        db.persist()
        before = db.search_batch(rows[3000:3020], exact=True)
        assert db.compact() > 2000 * 32 * 4 // 2
        stats = db.stats()
        assert (stats["rows"], stats["gone"], stats["deleted_share"]) == (3999, 0, 0.0)
        assert (stats["count"], stats["soft_deleted"]) == (3989, 10)
        assert db.search_batch(rows[3000:3020], exact=True) == before
        assert db.search(rows[3000], k=1).ids == ["3000"]
        assert vectors(db, ["2500"]) == [rows[0].tolist()]
        assert db.get("2700") == '{"i": 2700}'
        assert db.restore(ids[2000:2010]) == 10
        clock.forward(seconds=100)
        assert "2502" not in db
        assert "compact" in [entry.operation for entry in db.change_log()]
    with opened(kind, path) as db:
        assert len(db) == 3998
        assert next(iter(db)) == "2000"


def test_hits_found_before_a_compaction_can_be_read_after_it(path, rng):
    rows = rng.random((1000, 8), dtype=np.float32)
    with srvdb.open(path, metric="l2") as db:
        db.add([str(i) for i in range(1000)], rows, [{"i": i} for i in range(1000)])
        hits = db.search(rows[900], k=3)
        db.delete([str(i) for i in range(500)])
        db.compact()
        assert hits[0].metadata == {"i": 900}
        assert np.array_equal(hits[0].embedding, rows[900])


def test_compaction_starts_by_itself(path, rng):
    rows = rng.random((4000, 16), dtype=np.float32)
    ids = [str(i) for i in range(4000)]
    with srvdb.open(path, auto_compact={"share": 0.5, "bytes": 1000}) as db:
        db.add(ids, rows)
        db.delete(ids[:1900])
        db.persist()
        db.delete(ids[1900:2500])
        deadline = time.monotonic() + 20
        while db.stats()["gone"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert db.stats()["rows"] == len(db) == 1500


def test_compaction_does_not_start_by_itself_when_it_is_off(path, rng):
    rows = rng.random((100, 16), dtype=np.float32)
    ids = [str(i) for i in range(100)]
    with srvdb.open(path, auto_compact=False) as db:
        db.add(ids, rows)
        db.delete(ids[:99])
        db.persist()
        time.sleep(0.3)
        assert db.stats()["gone"] == 99


def test_compact_reports_progress_and_what_it_raises_stops_it(path, kind, rng):
    rows = rng.random((5000, 8), dtype=np.float32)
    with opened(kind, path) as db:
        db.add([str(i) for i in range(5000)], rows)
        db.delete([str(i) for i in range(2500)])
        with pytest.raises(ZeroDivisionError):
            db.compact(progress=lambda done, total: 1 / 0)
        assert (len(db), db.search(rows[4000], k=1).ids) == (2500, ["4000"])
        seen = []
        db.compact(progress=lambda done, total: seen.append((done, total)))
        assert seen
        assert db.stats()["gone"] == 0


# ---- who may -------------------------------------------------------------------------------------


def test_a_reader_can_look_but_not_change(path, kind):
    with opened(kind, path) as db:
        db.add(["a", "b"], [[1.0], [2.0]])
        db.soft_delete(["a"])
    with opened(kind, path, read_only=True) as reader:
        assert reader.deleted_ids() == ["a"]
        assert "soft_delete" in operations(reader.change_log())
        for change in (
            lambda: reader.update("b", [1.0]),
            lambda: reader.soft_delete(["b"]),
            lambda: reader.restore(["a"]),
            lambda: reader.trim_change_log(datetime.now(UTC)),
            reader.compact,
        ):
            with pytest.raises(srvdb.ReadOnlyError):
                change()


def test_a_closed_database_says_so(path, kind):
    db = opened(kind, path)
    db.add(["a"], [[1.0]])
    db.close()
    for call in (
        lambda: db.update("a", [1.0]),
        lambda: db.soft_delete(["a"]),
        lambda: db.restore(["a"]),
        db.deleted_ids,
        db.change_log,
        db.compact,
    ):
        with pytest.raises(srvdb.ClosedError):
            call()
