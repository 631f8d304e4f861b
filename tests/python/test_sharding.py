"""ShardedDatabase: stable placement, answers of one database, a manifest that is checked."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import srvdb
from helpers import METRICS, numbered, run_child
from srvdb._placement import shard_of
from srvdb._shard_set import _results

PLACED_IN_4 = [0, 0, 3, 1, 0, 3, 0, 1, 0]
PLACED_IN_7 = [4, 0, 2, 1, 3, 5, 6, 4, 1]


def test_placement_never_changes():
    ids = ["a", "b", "c", "doc_1", "doc_2", "é", "日本", "😀", "x" * 511]
    assert [shard_of(id, 4) for id in ids] == PLACED_IN_4
    assert [shard_of(id, 7) for id in ids] == PLACED_IN_7


def test_placement_does_not_depend_on_the_hash_seed(path):
    code = "from srvdb._placement import shard_of; print([shard_of(str(i), 5) for i in range(50)])"
    answers = {
        run_child(code, env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout for seed in (1, 2)
    }
    assert answers == {f"{[shard_of(str(i), 5) for i in range(50)]}\n"}


def test_ids_are_spread_evenly():
    counts = np.bincount([shard_of(f"doc_{i}", 8) for i in range(8000)], minlength=8)
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shards", [1, 3])
def test_answers_are_those_of_one_database(tmp_path, rng, metric, shards):
    rows = rng.integers(-3, 4, size=(1500, 6)).astype(np.float32)  # many equal scores
    ids = [f"id{i}" for i in range(1500)]
    metadatas = [{"i": i} if i % 2 else f'{{"i": {i}}}' for i in range(1500)]
    queries = rng.integers(-3, 4, size=(20, 6)).astype(np.float32)
    with (
        srvdb.open(tmp_path / "one", metric=metric) as one,
        srvdb.ShardedDatabase(tmp_path / "many", shards=shards, metric=metric) as many,
    ):
        for db in (one, many):
            assert db.add(ids[:700], rows[:700], metadatas[:700]) == 700
            assert db.add_batch(ids[700:], rows[700:], metadatas[700:]) == 800
            assert db.upsert(["id3", "new"], rows[:2], [None, {"n": 1}]) == 2
            assert db.delete(["id5", "id6", "nobody"]) == 2
            db.persist()
        assert len(one) == len(many) == 1499
        for query in queries:
            mine, theirs = (
                db.search(query, k=30, exact=True, include=["metadata"]) for db in (many, one)
            )
            assert mine.scores.tolist() == theirs.scores.tolist()
            kth = theirs[-1].score
            assert [h for h in mine if h.score > kth] == [h for h in theirs if h.score > kth]
            assert mine == sorted(mine, key=lambda hit: (-hit.score, hit.id))
            assert all(hit.metadata == json.loads(one.get(hit.id)) for hit in mine)
        lists = many.search_batch(queries, k=5, exact=True, threads=2)
        assert [hits.scores.tolist() for hits in lists] == [
            many.search(query, k=5, exact=True).scores.tolist() for query in queries
        ]
        assert many.get("id3") == one.get("id3") == "{}"
        assert many.get_all_ids() == one.get_all_ids()
        assert many.scroll(limit=50, after="id2") == one.scroll(limit=50, after="id2")
        wanted = ["id9", "nobody", "new", "id5", "id9"]
        assert many.get_records(wanted) == one.get_records(wanted)
        assert "id9" in many
        assert "id5" not in many
        many.optimize(threads=1)
        many.set_mode("flat")
        many.set_ef_search(10)
        assert many.stats()["count"] == 1499
        assert sum(stats["count"] for stats in many.stats()["shards"]) == 1499
        assert "count=1499" in repr(many)


def test_reopened_it_is_the_same(path):
    with srvdb.ShardedDatabase(path, shards=4) as db:
        db.add(numbered(100), np.eye(100))
    with srvdb.ShardedDatabase(path) as db:
        assert len(db.shards) == 4
        assert len(db) == 100
        assert db.search(np.eye(100)[7], k=1).ids == ["7"]
        for number, shard in enumerate(db.shards):
            assert all(shard_of(id, 4) == number for id in shard)


def test_the_number_of_shards_is_fixed(path):
    with pytest.raises(srvdb.InvalidInputError, match="shards="):
        srvdb.ShardedDatabase(path)
    srvdb.ShardedDatabase(path, shards=2).close()
    with pytest.raises(srvdb.InvalidInputError, match=r"2 shards.*shards=3"):
        srvdb.ShardedDatabase(path, shards=3)
    for wrong in (0, 1001, "2"):
        with pytest.raises(srvdb.InvalidInputError, match="shards"):
            srvdb.ShardedDatabase(path.with_name("other"), shards=wrong)


def test_paths_are_checked_for_order_and_set(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    with srvdb.ShardedDatabase([a, b]) as db:
        db.add(["x", "y", "z"], np.eye(3))
    with pytest.raises(srvdb.InvalidInputError, match="not shard 0"):
        srvdb.ShardedDatabase([b, a])
    with pytest.raises(srvdb.InvalidInputError, match="shards"):
        srvdb.ShardedDatabase([a])
    with pytest.raises(srvdb.InvalidInputError, match="twice"):
        srvdb.ShardedDatabase([a, a])
    srvdb.ShardedDatabase([c, tmp_path / "d"]).close()
    with pytest.raises(srvdb.InvalidInputError, match="set"):
        srvdb.ShardedDatabase([a, tmp_path / "d"])
    srvdb.open(tmp_path / "plain").close()
    with pytest.raises(srvdb.InvalidInputError, match="not a shard"):
        srvdb.ShardedDatabase([tmp_path / "plain"])
    with pytest.raises(srvdb.InvalidInputError, match="not sharded"):
        srvdb.ShardedDatabase(tmp_path / "plain", shards=2)
    with srvdb.ShardedDatabase([a, b]) as db:
        assert len(db) == 3


def test_damaged_or_newer_manifest_is_refused(path):
    srvdb.ShardedDatabase(path, shards=2).close()
    manifest = path / "shards.json"
    content = manifest.read_text()
    manifest.write_text(content.replace("blake2b-64", "crc32"))
    with pytest.raises(srvdb.VersionError, match="crc32"):
        srvdb.ShardedDatabase(path)
    manifest.write_text(content[:-3])
    with pytest.raises(srvdb.CorruptionError, match=r"shards\.json"):
        srvdb.ShardedDatabase(path)


def test_creation_that_was_cut_short_is_completed(path):
    srvdb.ShardedDatabase(path, shards=3).close()
    for shard in ("shard-001", "shard-002"):
        for file in sorted((path / shard).rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    with srvdb.ShardedDatabase(path) as db:
        db.add(numbered(10), np.eye(10))
    with srvdb.ShardedDatabase(path) as db:
        assert len(db) == 10


def test_first_batch_decides_the_dimension_of_every_shard(path):
    with srvdb.ShardedDatabase(path, shards=3) as db:
        db.add(["only"], [[1.0, 2.0]])
        for id in numbered(20):
            with pytest.raises(srvdb.DimensionError, match=r"2.*3"):
                db.add([id], [[1.0, 2.0, 3.0]])
        with pytest.raises(srvdb.DimensionError):
            db.search([1.0])
        assert len(db) == 1


def test_reading_what_is_not_there_creates_nothing(path):
    with pytest.raises(srvdb.NotFoundError):
        srvdb.ShardedDatabase(path, shards=2, read_only=True)
    with pytest.raises(srvdb.NotFoundError):
        srvdb.ShardedDatabase([path], create=False)
    assert not path.exists()


def test_closed_says_so(path):
    db = srvdb.ShardedDatabase(path, shards=2)
    db.close()
    db.close()
    with pytest.raises(srvdb.ClosedError):
        db.search([1.0])
    with pytest.raises(srvdb.ClosedError):
        db.count()


def test_configuration_of_the_set(path):
    path.mkdir()
    options = {"buffer_size": 5000}
    with srvdb.ShardedDatabase(path, shards=2, config=options, ef=7) as db:
        assert all(shard.stats()["buffer_size"] == 5000 for shard in db.shards)
        assert all(shard.stats()["ef"] == 7 for shard in db.shards)


def everything_in(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else None
        for file in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", ["foreign", "written by 0.1"])
def test_a_directory_that_is_refused_is_left_as_it_was(tmp_path, kind):
    folder = tmp_path / "mine"
    folder.mkdir()
    if kind == "foreign":
        (folder / "notes.txt").write_text("mine")
        error = srvdb.InvalidInputError
    else:
        header = (0x53764442).to_bytes(4, "little") + bytes(60)
        (folder / "vectors.bin").write_bytes(header)
        error = srvdb.SrvDBError
    before = everything_in(tmp_path)
    with pytest.raises(error):
        srvdb.ShardedDatabase(folder, shards=2)
    with pytest.raises(error):
        srvdb.ShardedDatabase([tmp_path / "new", folder])
    assert everything_in(tmp_path) == before


def test_ctrl_c_waits_for_the_writes_that_run():
    began, ended = threading.Event(), threading.Event()

    def write():
        began.set()
        time.sleep(0.3)
        ended.set()

    class Interrupted:
        def exception(self):
            began.wait()
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(write)
        future.exception = Interrupted().exception
        with pytest.raises(KeyboardInterrupt):
            _results([future], None)
        assert ended.is_set()


def test_an_id_that_is_no_str_is_refused_by_in(path):
    with (
        srvdb.ShardedDatabase(path, shards=2) as db,
        pytest.raises(srvdb.InvalidInputError, match=r"write str\(i\)"),
    ):
        assert 5 not in db


def test_a_snapshot_is_of_all_shards_and_brings_all_back(path, rng):
    rows = rng.random((60, 4), dtype=np.float32)
    ids = [str(i) for i in range(60)]
    with srvdb.ShardedDatabase(path, shards=3) as db:
        db.add(ids, rows)
        db.soft_delete(ids[:5])
        kept = db.create_snapshot("good")
        assert (kept.name, kept.vectors) == ("good", 55)
        assert all(len(shard.list_snapshots()) == 1 for shard in db.shards)
        before = db.search(rows[30], k=60)
        db.delete(ids[:40])
        db.update("50", rows[0])
        db.restore_snapshot("good")
        assert db.search(rows[30], k=60) == before
        assert db.deleted_ids() == sorted(ids[:5])
        names = [kept.name for kept in db.list_snapshots()]
        assert names[0] == "good"
        assert names[1].startswith("before_restore_")
        db.restore_snapshot(names[1], keep_current=False)
        assert len(db) == 20
        assert {"create_snapshot", "restore_snapshot"} <= {e.operation for e in db.change_log()}
        with pytest.raises(srvdb.DuplicateIdError, match="good"):
            db.create_snapshot("good")
        db.drop_snapshot("good")
        assert [kept.name for kept in db.list_snapshots()] == names[1:]
        assert db.create_snapshot().name.startswith("snapshot_")


def test_a_snapshot_that_one_shard_lacks_restores_nothing(path):
    with srvdb.ShardedDatabase(path, shards=2) as db:
        db.add(["a", "b", "c", "doc_1"], np.ones((4, 2)))
        db.create_snapshot("half")
        db.shards[1].drop_snapshot("half")
        db.delete(["a", "c", "doc_1"])
        assert db.list_snapshots() == []
        with pytest.raises(srvdb.NotFoundError, match="half"):
            db.restore_snapshot("half")
        assert list(db) == ["b"]
        db.drop_snapshot("half")
        with pytest.raises(srvdb.NotFoundError, match="half"):
            db.drop_snapshot("half")


def test_readers_of_shards_move_on(path):
    with srvdb.ShardedDatabase(path, shards=2) as db:
        db.add(["a"], [[1.0]])
        db.persist()
    code = (
        "import sys, srvdb\nwith srvdb.ShardedDatabase(sys.argv[1]) as db: db.add(['b'], [[2.0]])"
    )
    with srvdb.ShardedDatabase(path, read_only=True) as reader:
        assert run_child(code, str(path)).returncode == 0
        assert list(reader) == ["a"]
        reader.refresh()
        assert list(reader) == ["a", "b"]
