"""The command line: what it says, and with which exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest

import srvdb


def run(*arguments):
    """Exit status, output and error output of ``python -m srvdb``."""
    command = [sys.executable, "-m", "srvdb", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 0x40
    file.write_bytes(content)


@pytest.fixture
def closed(path):
    """A closed database of 200 rows with everything in it."""
    rng = np.random.default_rng(1)
    with srvdb.open(path, dimension=8, mode="hnsw") as db:
        ids = [f"r{i}" for i in range(200)]
        metadatas = [{"i": i, "text": "x" * (i % 40)} for i in range(200)]
        db.add(ids, rng.normal(size=(200, 8)).astype("float32"), metadatas)
        db.delete(ids[:5])
        db.soft_delete(ids[5:10])
        db.optimize()
    return path


def test_verify_says_that_a_database_is_sound(closed):
    for options in ([], ["--deep"]):
        status, output, errors = run("verify", closed, *options)
        assert (status, errors) == (0, "")
        assert "sound" in output
        assert "200 rows" in output


def test_verify_names_the_damaged_file_and_exits_with_1(closed):
    flip(closed / "gen-1" / "vectors.bin", 4096 + 50 * 32)
    assert run("verify", closed)[0] == 0  # a shallow look does not read rows
    status, output, _ = run("verify", closed, "--deep")
    assert status == 1
    assert "damage: gen-1/vectors.bin at 5696: row 50" in output
    assert "DAMAGED" in output


def test_verify_exits_with_2_when_there_is_nothing_to_look_at(tmp_path):
    status, _, errors = run("verify", tmp_path / "nowhere")
    assert status == 2
    assert "no database" in errors
    assert run("verify")[0] == 2
    assert run("dance")[0] == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "zero", "splice"])
def test_every_kind_of_damage_is_found_and_the_rest_is_saved(closed, tmp_path, damage):
    checked = 0
    for file in sorted(p for p in closed.rglob("*") if p.is_file()):
        name = file.relative_to(closed).as_posix()
        content = file.read_bytes()
        if file.name == "LOCK" or name.endswith("-lock") or file.name == "metadata.crc":
            continue
        # Of metadata.db the second page: one of the two that lead to all others.
        at = 4096 + 64 if file.name == "metadata.db" else len(content) // 2
        size = min(64, len(content) - at)
        damaged = {
            "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
            "truncate": content[: len(content) - 3],
            "zero": content[:at] + bytes(size) + content[at + size :],
            "splice": content[:at] + content[at // 3 : at // 3 + size] + content[at + size :],
        }[damage]
        if damaged == content:
            continue
        file.write_bytes(damaged)
        report = srvdb.verify(closed, deep=True)
        assert any(found.file == name or file.name in found.what for found in report.problems), (
            f"{name}: {report.problems}"
        )
        out = tmp_path / f"out{checked}"
        saved = srvdb.repair(closed, out)
        assert saved.saved >= 170, f"{name}: {saved.items}"
        assert srvdb.verify(out, deep=True).is_sound
        file.write_bytes(content)
        checked += 1
    assert checked >= 9
    assert srvdb.verify(closed, deep=True).is_sound


def test_repair_lists_what_is_lost_and_saves_the_rest(closed, tmp_path):
    flip(closed / "gen-1" / "vectors.bin", 4096 + 50 * 32)
    out = tmp_path / "out"
    status, output, errors = run("repair", closed, out)
    assert (status, errors) == (1, "")
    assert "lost: 'r50': its row is damaged" in output
    assert "194 ids saved, 5 of them soft-deleted" in output
    assert run("verify", out, "--deep")[0] == 0
    with srvdb.open(out) as db:
        assert len(db) == 189
        assert json.loads(db.get("r51")) == {"i": 51, "text": "x" * 11}
        assert "r50" not in db


def test_repair_of_a_sound_database_loses_nothing(closed, tmp_path):
    status, output, _ = run("repair", closed, tmp_path / "out")
    assert status == 0
    assert "195 ids saved" in output
    assert run("repair", closed, tmp_path / "out")[0] == 2  # it is there now
    assert run("repair", tmp_path / "nowhere", tmp_path / "other")[0] == 2


def test_restore_unpacks_a_backup(closed, tmp_path):
    backup = tmp_path / "backup.tar.zst"
    with srvdb.open(closed) as db:
        db.backup(backup, compress="zstd")
    status, output, errors = run("restore", backup, tmp_path / "new")
    assert (status, errors) == (0, "")
    assert "restored" in output
    with srvdb.open(tmp_path / "new") as db:
        assert len(db) == 190
    assert run("restore", backup, tmp_path / "new")[0] == 2
    flip(backup, backup.stat().st_size // 2)
    assert run("restore", backup, tmp_path / "other")[0] == 2
    assert not (tmp_path / "other").exists()


def test_a_database_verifies_itself_while_it_is_used(abc):
    for _ in range(3):
        abc.upsert(["a"], [[0.5, 0.5]])
        abc.persist()
        report = abc.verify(deep=True)
        assert report.is_sound
        assert not report.problems
    assert report.rows == abc.stats()["rows"]


def test_progress_can_be_watched_and_stops_the_call(closed):
    seen = []
    srvdb.verify(closed, deep=True, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (200, 200)

    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        srvdb.verify(closed, deep=True, progress=stop)


WRITER = """
import sys, time
import numpy as np
import srvdb
rng = np.random.default_rng(1)
with srvdb.open(sys.argv[1], dimension=8) as db:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for _ in range(5):
            ids = [f"r{i}" for i in rng.choice(20_000, 500, replace=False)]
            db.upsert(ids, rng.normal(size=(500, 8)).astype("float32"), [{"i": 1}] * 500)
        db.persist()
        db.compact()
"""


def test_verify_beside_a_writing_process_finds_nothing(path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    looked = 0
    while writer.poll() is None:
        if (path / "MANIFEST").exists():
            report = srvdb.verify(path, deep=True)
            assert not report.problems
            looked += 1
    assert writer.returncode == 0
    assert looked > 0
