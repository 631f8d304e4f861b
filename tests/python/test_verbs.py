"""Update, soft delete, restore, compaction: one test for each promise, for one database and for
shards."""

import json
import math
import time
from datetime import datetime, timedelta

import numpy as np
import pytest

import srvdb
from helpers import START, UTC, opened, operations, vectors

# ---- update --------------------------------------------------------------------------------------


def test_update_of_the_embedding_keeps_metadata_and_expiry(both, clock):
    both.update("a", expires_at=START + timedelta(days=1))
    assert both.update("a", [3.0, 4.0]) == 1
    record = both.get_records(["a"], include=("metadata", "embedding"))[0]
    assert record.metadata == {"year": 2024}
    assert record.embedding.tolist() == [3.0, 4.0]
    assert record.expires_at == START + timedelta(days=1)
    assert len(both) == 3


def test_update_of_the_metadata_keeps_the_embedding_and_writes_no_row(both):
    rows = both.stats()["rows"]
    assert both.update("a", metadata={"n": 1}) == 1
    assert both.update("b", metadata='{"n":  2}') == 1
    assert both.update("c", metadata={}) == 1
    assert [both.get(id) for id in "abc"] == ['{"n": 1}', '{"n":  2}', "{}"]
    assert vectors(both, ["a"]) == [[1.0, 0.0]]
    assert both.stats()["rows"] == rows


def test_an_updated_row_is_found_at_its_new_place(both):
    both.update("a", [0.0, -1.0])
    assert both.search([0.0, -1.0], k=1).ids == ["a"]
    assert both.search([1.0, 0.0], k=1).ids == ["c"]
    assert len(both.search([1.0, 0.0], k=10)) == 3


@pytest.mark.parametrize(
    "embedding",
    [[3, 4], (3.0, 4.0), np.array([3, 4]), np.array([3, 4], dtype=np.float16), range(3, 5)],
)
def test_update_takes_every_form_of_a_vector(both, embedding):
    both.update("b", embedding)
    assert vectors(both, ["b"]) == [[3.0, 4.0]]


def test_updates_survive_closing(path, kind):
    with opened(kind, path) as db:
        db.add(["a", "b"], [[1.0], [2.0]], [{"n": 1}, {"n": 2}])
        db.update("a", [5.0])
        db.update("b", metadata={"n": 3})
    with opened(kind, path) as db:
        assert vectors(db, ["a", "b"]) == [[5.0], [2.0]]
        assert [json.loads(db.get(id)) for id in "ab"] == [{"n": 1}, {"n": 3}]


def test_update_of_an_unknown_id_is_not_found(both):
    with pytest.raises(srvdb.NotFoundError, match="'x'") as caught:
        both.update("x", [1.0, 1.0])
    assert caught.value.ids == ("x",)
    assert isinstance(caught.value, KeyError)


def test_update_of_a_soft_deleted_row_is_not_found_and_says_why(both):
    both.soft_delete(["a"])
    with pytest.raises(srvdb.NotFoundError, match=r"'a'.*soft-deleted.*restore") as caught:
        both.update("a", metadata={})
    assert caught.value.ids == ("a",)


def test_batch_update_takes_dicts_and_tuples(both, clock):
    moment = START + timedelta(hours=1)
    assert (
        both.batch_update(
            [
                {"id": "a", "embedding": [0.0, 2.0], "metadata": None},
                ("b", None, {"n": 2}),
                ["c", np.array([5.0, 6.0]), None, moment],
            ]
        )
        == 3
    )
    assert vectors(both, "abc") == [[0.0, 2.0], [0.0, 1.0], [5.0, 6.0]]
    records = both.get_records(["a", "b", "c"])
    assert [record.metadata for record in records] == [{"year": 2024}, {"n": 2}, {"year": 2026}]
    assert [record.expires_at for record in records] == [None, None, moment]
    assert both.batch_update({"id": id, "metadata": {}} for id in "ab") == 2
    assert both.batch_update([]) == 0


def test_batch_update_with_unknown_ids_changes_nothing_and_lists_them_all(both):
    both.soft_delete(["c"])
    updates = [("a", [9.0, 9.0]), ("b", [9.0, 9.0]), ("c", [9.0, 9.0])]
    updates += [(f"unknown {i}", [9.0, 9.0]) for i in range(50)]
    with pytest.raises(srvdb.NotFoundError, match="51 ids") as caught:
        both.batch_update(updates)
    assert caught.value.ids == ("c", *(f"unknown {i}" for i in range(50)))
    assert vectors(both, "abc", include_deleted=True) == [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


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


def test_soft_deleted_rows_are_gone_from_everything_at_once(both):
    assert both.soft_delete(["a", "nobody"]) == 1
    assert both.soft_delete(["a"]) == 0
    assert "a" not in both
    assert both.get("a") is None
    assert both.get_records(["a"]) == [None]
    assert list(both) == ["b", "c"]
    assert [record.id for record in both.scroll()] == ["b", "c"]
    assert (len(both), both.count()) == (2, 2)
    assert both.search([1.0, 0.0]).ids == ["c", "b"]
    assert [hits.ids for hits in both.search_batch([[1.0, 0.0]])] == [["c", "b"]]
    assert both.search([1.0, 0.0], exact=True).ids == ["c", "b"]
    assert both.deleted_ids() == ["a"]


def test_soft_deleted_rows_are_there_for_who_asks(both):
    both.soft_delete(["a"])
    assert both.search([1.0, 0.0], include_deleted=True).ids == ["a", "c", "b"]
    assert both.search_batch([[1.0, 0.0]], include_deleted=True)[0].ids == ["a", "c", "b"]
    gone, there = both.get_records(["a", "b"], include_deleted=True)
    assert (gone.id, gone.metadata, gone.deleted) == ("a", {"year": 2024}, True)
    assert there.deleted is False


def test_restore_brings_back_everything(both):
    before = both.search([1.0, 0.0], include=("metadata", "embedding"))
    both.soft_delete(["c", "a"])
    assert both.restore(["a", "c", "b", "nobody"]) == 2
    assert both.restore(["a"]) == 0
    assert both.search([1.0, 0.0]) == before
    assert both.get("a") == '{"year": 2024}'
    assert both.deleted_ids() == []


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


def test_add_of_a_soft_deleted_id_is_refused_and_says_so(both):
    both.soft_delete(["b"])
    with pytest.raises(srvdb.DuplicateIdError, match=r"item 1.*'b'.*soft-deleted"):
        both.add(["x", "b"], [[1.0, 1.0], [1.0, 1.0]])
    assert both.deleted_ids() == ["b"]
    assert "x" not in both


def test_upsert_of_a_soft_deleted_id_makes_it_live(both):
    both.soft_delete(["b"])
    both.upsert(["b"], [[7.0, 7.0]], [{"n": 1}])
    assert both.deleted_ids() == []
    assert vectors(both, ["b"]) == [[7.0, 7.0]]
    assert both.get("b") == '{"n": 1}'


def test_deleted_rows_cannot_be_restored(both):
    both.soft_delete(["a"])
    assert both.delete(["a", "b"]) == 2
    assert both.restore(["a", "b"]) == 0
    assert both.deleted_ids() == []
    assert both.add(["a"], [[1.0, 0.0]]) == 1


def test_what_is_soft_deleted_is_counted(both):
    both.soft_delete(["a"])
    both.delete(["b"])
    stats = both.stats()
    assert (stats["count"], stats["rows"], stats["soft_deleted"], stats["gone"]) == (1, 3, 1, 1)
    assert math.isclose(stats["deleted_share"], 1 / 3)
    assert "soft_deleted=1" in repr(both)
    assert both.info().endswith("vectors=1, deleted=1)")
    assert "soft_deleted" in both._repr_html_()


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
