"""One flipped byte in any file: an error or the right answer, never a crash or a wrong answer."""

import os
import shutil

import numpy as np
import pytest

import srvdb
from helpers import run_child

READ = """
import sys, warnings
import numpy as np
import srvdb

warnings.simplefilter("ignore")
path, expected = sys.argv[1:]
with np.load(expected) as known:
    rows, best, scores = known["rows"], known["best"], known["scores"]
try:
    with srvdb.open(path) as db:
        assert len(db) == len(rows), "count"
        for i in range(0, len(rows), 5):
            hits = db.search(rows[i], k=3, exact=i % 2 == 0)
            if i % 2 == 0:
                assert [int(id) for id, _ in hits] == best[i].tolist(), f"answer {i}: {hits}"
                assert hits.scores.tolist() == scores[i].tolist(), f"scores {i}"
            for hit in hits:
                assert hit.metadata == {"i": int(hit.id)}, f"metadata of {hit}"
                assert np.array_equal(hit.embedding, rows[int(hit.id)]), f"embedding of {hit}"
        db.optimize()
        db.add(["new"], rows[:1])
        assert "new" in db
    print("right")
except srvdb.SrvDBError as error:
    print("error", type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(600, 12)).astype(np.float32)
    with srvdb.open(folder / "db", mode="hnsw") as db:
        db.add([str(i) for i in range(600)], rows, [{"i": i} for i in range(600)])
        db.optimize()
        lists = db.search_batch(rows, k=3, exact=True)
        np.savez(
            folder / "known.npz",
            rows=rows,
            best=[[int(id) for id in hits.ids] for hits in lists],
            scores=[hits.scores for hits in lists],
        )
    return folder


def data_files(folder):
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and file.stat().st_size and not file.name.startswith(("LOCK", "metadata"))
    )


def outcome(path, intact):
    done = run_child(READ, str(path), str(intact / "known.npz"))
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def test_untouched_it_answers_right(intact, tmp_path):
    shutil.copytree(intact / "db", tmp_path / "db")
    assert outcome(tmp_path / "db", intact) == "right\n"
    kinds = {p.name for p in data_files(intact / "db")}
    assert {"MANIFEST", "vectors.bin", "ids.bin", "codes.i8"} <= kinds


@pytest.mark.parametrize("place", [0.0, 0.37, 0.93])
@pytest.mark.parametrize(
    "name",
    [
        "MANIFEST", "vectors.bin", "rows.fix", "ids.bin", "ids.fix", "codes.i8", "codes.fix",
        "graph.hnsw", ".log",
    ],
)  # fmt: skip
def test_a_flipped_byte_is_an_error_or_does_no_harm(intact, tmp_path, name, place):
    copy = tmp_path / "db"
    shutil.copytree(intact / "db", copy)
    files = [p for p in data_files(copy) if p.name == name or p.suffix == name]
    if not files:
        pytest.skip(f"this database has no {name}")
    data = bytearray(files[-1].read_bytes())
    used = len(data.rstrip(b"\0")) or len(data)
    data[int(place * (used - 1))] ^= 0x41
    files[-1].write_bytes(data)
    result = outcome(copy, intact)
    assert result == "right\n" or result.startswith("error"), result


@pytest.mark.parametrize("name", ["codes.i8", "codes.fix", "graph.hnsw"])
def test_derived_files_may_go_at_any_time(intact, tmp_path, name):
    copy = tmp_path / "db"
    shutil.copytree(intact / "db", copy)
    files = [p for p in data_files(copy) if p.name == name]
    if not files:
        pytest.skip(f"this database has no {name}")
    files[0].unlink()
    assert outcome(copy, intact) == "right\n"


@pytest.mark.parametrize("name", ["vectors.bin", "rows.fix", "ids.bin", "ids.fix", "MANIFEST"])
def test_a_shortened_file_is_corruption(intact, tmp_path, name):
    copy = tmp_path / "db"
    shutil.copytree(intact / "db", copy)
    file = next(p for p in data_files(copy) if p.name == name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert outcome(copy, intact).startswith(("error CorruptionError", "error VersionError"))


OPEN = """
import sys, srvdb
with srvdb.open(sys.argv[1]) as db:
    db.optimize()
    print(len(db))
"""


def test_a_warning_that_is_turned_into_an_error_does_not_fail_the_call(intact, tmp_path):
    copy = tmp_path / "db"
    shutil.copytree(intact / "db", copy)
    (graph,) = copy.rglob("graph.hnsw")
    graph.write_bytes(b"\0" * graph.stat().st_size)
    child = run_child(OPEN, str(copy), env={**os.environ, "PYTHONWARNINGS": "error"})
    assert (child.returncode, child.stdout) == (0, "600\n"), child.stderr
    assert "graph is damaged" in child.stderr
