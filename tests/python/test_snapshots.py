"""Snapshots, restoring, backups, readers that move on: what is kept stays, and comes back."""

import datetime
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import srvdb
from srvdb.config import Settings


def rows_of(db):
    """Everything there is, as a dictionary."""
    records = db.get_records(list(db.ids()), include=("metadata", "embedding"))
    return {r.id: (r.metadata, r.embedding.tolist()) for r in records if r is not None}


def fill(db, rng, n, prefix="r", dimension=8):
    ids = [f"{prefix}{i}" for i in range(n)]
    rows = rng.standard_normal((n, dimension)).astype(np.float32)
    db.upsert(ids, rows, [{"n": i} for i in range(n)])
    return ids, rows


def test_a_snapshot_is_unchanged_by_what_comes_later(path, rng):
    with srvdb.open(path) as db:
        fill(db, rng, 300)
        kept = db.create_snapshot("kept")
        then = rows_of(db)
        assert (kept.name, kept.vectors, kept.deleted) == ("kept", 300, 0)
        fill(db, rng, 200)
        db.delete([f"r{i}" for i in range(250)])
        db.create_snapshot("later")
        db.restore_snapshot("later")
        db.persist()
        with db.open_snapshot("kept") as past:
            assert rows_of(past) == then
            with pytest.raises(srvdb.ReadOnlyError):
                past.delete(["r1"])
        db.restore_snapshot("kept")
        assert rows_of(db) == then
    with srvdb.open(path) as db:
        assert rows_of(db) == then


def test_what_a_snapshot_tells(abc):
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    abc.delete(["a"])
    made = abc.create_snapshot()
    assert re.fullmatch(r"snapshot_\d{8}_\d{6}", made.name)
    assert made.time.tzinfo is datetime.timezone.utc
    assert before <= made.time <= datetime.datetime.now(datetime.timezone.utc)
    assert (made.vectors, made.deleted, made.automatic) == (2, 1, False)
    assert made.own_bytes > 0
    assert abc.list_snapshots() == [made]


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "é", "x" * 101])
def test_bad_names_are_refused(abc, name):
    if name:
        with pytest.raises(srvdb.InvalidInputError, match="name must be"):
            abc.create_snapshot(name)
    for call in (abc.drop_snapshot, abc.restore_snapshot, abc.open_snapshot):
        with pytest.raises(srvdb.InvalidInputError, match="name must be"):
            call(name)
    with pytest.raises(srvdb.InvalidInputError, match="must be a str"):
        abc.create_snapshot(7)


def test_unknown_and_taken_names(abc):
    abc.create_snapshot("one")
    with pytest.raises(srvdb.DuplicateIdError, match="already has a snapshot 'one'"):
        abc.create_snapshot("one")
    for call in (abc.drop_snapshot, abc.restore_snapshot, abc.open_snapshot):
        with pytest.raises(srvdb.NotFoundError, match="no snapshot 'two'"):
            call("two")


def test_a_snapshot_opens_by_its_path_but_not_for_writing(path, abc):
    abc.create_snapshot("one")
    inside = path / "snapshots" / "one"
    with srvdb.open(inside, read_only=True) as one:
        assert one.search([1.0, 0.0], k=1).ids == ["a"]
    with pytest.raises(srvdb.ReadOnlyError, match="is a snapshot"):
        srvdb.open(inside)
    names = sorted(entry.name for entry in inside.iterdir())
    assert names == ["MANIFEST", f"gen-{abc.stats()['generation']}"]


def test_a_read_only_database_keeps_its_snapshots(path, abc):
    abc.create_snapshot("one")
    abc.close()
    with srvdb.open(path, read_only=True) as reader:
        assert [kept.name for kept in reader.list_snapshots()] == ["one"]
        for call in (reader.create_snapshot, reader.drop_snapshot, reader.restore_snapshot):
            with pytest.raises(srvdb.ReadOnlyError):
                call("one")
        with reader.open_snapshot("one") as one:
            assert len(one) == 3


def test_restoring_keeps_the_state_before_unless_told_otherwise(abc):
    abc.create_snapshot("good")
    abc.delete(["a"])
    abc.restore_snapshot("good", keep_current=False)
    assert sorted(abc.ids()) == ["a", "b", "c"]
    assert len(abc.list_snapshots()) == 1
    abc.delete(["b"])
    abc.restore_snapshot("good")
    kept = abc.list_snapshots()[-1]
    assert kept.name.startswith("before_restore_")
    abc.restore_snapshot(kept.name, keep_current=False)
    assert sorted(abc.ids()) == ["a", "c"]


def test_hits_found_before_a_restore_stay_readable(abc):
    abc.create_snapshot("good")
    hits = abc.search([1.0, 0.0], k=3)
    abc.delete(["b"])
    abc.restore_snapshot("good")
    assert hits[0].embedding.tolist() == [1.0, 0.0]
    assert {hit.id: hit.metadata["year"] for hit in hits} == {"a": 2024, "b": 2025, "c": 2025}


def test_automatic_snapshots_come_and_go(path):
    with srvdb.open(path, snapshot_every="0.02s", keep=2) as db:
        for i in range(4):
            db.add([f"r{i}"], [[1.0, float(i)]])
            end = time.monotonic() + 30
            while not (db.list_snapshots() and db.list_snapshots()[-1].vectors == i + 1):
                assert time.monotonic() < end
                time.sleep(0.01)
        db.create_snapshot("mine")
        end = time.monotonic() + 30
        while len([kept for kept in db.list_snapshots() if kept.automatic]) > 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert "mine" in [kept.name for kept in db.list_snapshots()]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *(("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("2.5", 2.5), (30, 30), (0, 0)),
        (datetime.timedelta(hours=1), 3600),
    ],
)
def test_times_between_snapshots(given, seconds):
    assert Settings.resolve(snapshot_every=given).snapshot_every == seconds
    if isinstance(given, str):
        assert Settings.resolve(environ={"SVDB_SNAPSHOT_EVERY": given}).snapshot_every == seconds


@pytest.mark.parametrize("given", ["", "1 week", "h", "-1h", -1, float("nan"), True, 1e12, [1]])
def test_bad_times_between_snapshots(given):
    with pytest.raises(srvdb.InvalidInputError, match="snapshot_every must be"):
        Settings.resolve(snapshot_every=given)


def test_a_backup_is_a_database(path, tmp_path, rng):
    with srvdb.open(path) as db:
        fill(db, rng, 500)
        then = rows_of(db)
        db.create_snapshot("one")
        db.backup(tmp_path / "copy")
        db.backup(tmp_path / "copy.tar.zst", compress="zstd")
        fill(db, rng, 100, "later")
        for taken in (tmp_path / "copy", tmp_path / "copy.tar.zst", path):
            with pytest.raises(srvdb.InvalidInputError, match="exists"):
                db.backup(taken)
        with pytest.raises(srvdb.InvalidInputError, match="compress must be None or 'zstd'"):
            db.backup(tmp_path / "other", compress="gzip")
    srvdb.restore(tmp_path / "copy.tar.zst", tmp_path / "restored")
    for copy in ("copy", "restored"):
        with srvdb.open(tmp_path / copy) as db:
            assert rows_of(db) == then
            assert db.list_snapshots() == []
            db.add(["new"], [np.ones(8)])


def tree_of(folder):
    """The bytes of every file of a folder."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_damaged_backup_is_refused_unless_what_it_holds_is_the_same(path, tmp_path, rng):
    file = tmp_path / "copy.tar.zst"
    with srvdb.open(path) as db:
        fill(db, rng, 200)
        db.backup(file, compress="zstd")
    sound = file.read_bytes()
    srvdb.restore(file, tmp_path / "whole")
    whole = tree_of(tmp_path / "whole")
    harmless = 0
    for at in range(7, len(sound), max(1, len(sound) // 40)):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        try:
            srvdb.restore(file, tmp_path / "restored")
        except (srvdb.CorruptionError, srvdb.VersionError):
            assert not (tmp_path / "restored").exists()
            continue
        # A few bits of a zstd frame carry nothing (cpp/FORMAT.md).
        harmless += 1
        assert tree_of(tmp_path / "restored") == whole
        shutil.rmtree(tmp_path / "restored")
    assert harmless <= 2
    with pytest.raises(srvdb.NotFoundError):
        srvdb.restore(tmp_path / "nothing", tmp_path / "restored")
    with pytest.raises(srvdb.InvalidInputError, match="is a directory"):
        srvdb.restore(path, tmp_path / "restored")


WRITER = """
import sys, numpy as np, srvdb
db = srvdb.open(sys.argv[1])
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Writer:
    """Another process, told what to do with its ``db``."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def test_a_reader_moves_on_when_it_asks(path):
    with Writer(path) as writer:
        writer.run("db.add(['a'], [[1.0, 0.0]], [{'v': 1}]); db.persist()")
        with srvdb.open(path, read_only=True) as reader:
            hits = reader.search([1.0, 0.0])
            first = reader.refresh()
            writer.run("db.create_snapshot('one')")
            writer.run("db.upsert(['a', 'b'], [[0.0, 1.0], [1.0, 1.0]], [{'v': 2}, None])")
            writer.run("db.persist()")
            assert list(reader.ids()) == ["a"]
            assert reader.search([1.0, 0.0]).ids == ["a"]
            assert reader.refresh() > first
            assert list(reader.ids()) == ["a", "b"]
            assert reader.get("a") == '{"v": 2}'
            writer.run("db.restore_snapshot('one')")
            assert list(reader.ids()) == ["a", "b"]
            reader.refresh()
            assert list(reader.ids()) == ["a"]
            assert reader.get("a") == '{"v": 1}'
            assert hits[0].embedding.tolist() == [1.0, 0.0]
            writer.run("db.add(['c'], [[1.0, 2.0]])")
            writer.process.kill()
            writer.process.wait()
            assert list(reader.ids()) == ["a"]
            reader.refresh()
            assert list(reader.ids()) == ["a", "c"]


def test_a_refreshed_reader_keeps_its_settings(path, abc):
    abc.close()
    with srvdb.open(path, read_only=True, ef=77) as reader:
        reader.refresh()
        assert reader.stats()["ef"] == 77
        assert reader.stats()["read_only"]
