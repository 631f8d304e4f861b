"""The benchmarks run on small made-up sets, and compute what they say. No figure is judged."""

import importlib
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import datasets, exact_recall, memory, recall, timing  # noqa: E402
from benchmarks.run import table  # noqa: E402


def brute_force_l2(base, queries, k):
    distances = np.square(base[None].astype(float) - queries[:, None]).sum(axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory):
    """A data directory with one small set of integers, as the real ones are laid out."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    base = rng.integers(0, 256, size=(1500, 16), dtype=np.uint8)
    queries = rng.integers(0, 256, size=(40, 16), dtype=np.uint8)
    (root / "tiny").mkdir()
    np.savez(
        root / "tiny" / "data.npz",
        base=base,
        queries=queries,
        gt=brute_force_l2(base.astype(np.float32), queries.astype(np.float32), 100),
    )
    (root / "tiny" / "meta.json").write_text(json.dumps({"metric": "euclidean"}))
    return root


def run_measure(name, data_directory, folder, *arguments):
    """Run one script as a user does and return the record it wrote."""
    folders = ["--out", str(folder / "results"), "--cache", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments, *folders],
        cwd=ROOT,
        env={**os.environ, "SRVDB_DATA": str(data_directory)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "results" / f"{name}.json").read_text())


# ---- what the harness computes -----------------------------------------------------------------


def test_recall_counts_ties_as_found():
    base = np.array([[0, 0], [1, 0], [0, 1], [5, 5]], dtype=np.float32)
    data = datasets.VectorSet("ties", "l2", base, base[:1], None)
    # Rows 1 and 2 are equally far, so either may take the second place.
    for second in (1, 2):
        assert recall.recall_at(data, np.array([[0, second]]), 2) == 1.0
    assert recall.recall_at(data, np.array([[0, 3]]), 2) == 0.5


def test_recall_counts_a_repeated_row_once_and_a_missing_one_not_at_all():
    base = np.eye(4, dtype=np.float32)
    data = datasets.VectorSet("few", "cosine", base, base[:1], None)
    assert recall.recall_at(data, np.array([[0, 0]]), 2) == 0.5
    assert recall.recall_at(data, np.array([[0, -1]]), 2) == 0.5


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_brute_force_finds_the_best_rows_of_every_block(metric, monkeypatch):
    monkeypatch.setattr(recall, "_BLOCK", 7)
    rng = np.random.default_rng(3)
    base = rng.normal(size=(300, 5)).astype(np.float32)
    queries = rng.normal(size=(6, 5)).astype(np.float32)
    every = np.tile(np.arange(300), (6, 1))
    wanted = np.sort(recall.distances(base, queries, every, metric), axis=1)[:, :10]
    found = recall.brute_force(base, queries, metric, 10)
    assert np.array_equal(recall.distances(base, queries, found, metric), wanted)


def test_a_shortened_set_drops_the_ground_truth_that_no_longer_fits():
    base = np.eye(4, dtype=np.float32)
    data = datasets.VectorSet("whole", "l2", base, base, np.zeros((4, 2), dtype=np.int64))
    assert data.head(rows=3).truth is None
    assert data.head(queries=2).truth.shape == (2, 2)


def test_a_set_that_is_absent_is_skipped_visibly(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SRVDB_DATA", str(tmp_path))
    assert datasets.load_present(["no-such-set"]) == []
    assert "skipped: no vector set 'no-such-set'" in capsys.readouterr().err


def test_reads_ann_benchmarks_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    base = np.arange(12, dtype=np.float64).reshape(6, 2)
    with h5py.File(tmp_path / "toy.hdf5", "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"] = base, base[:2]
        file["neighbors"] = np.array([[0, 1], [1, 0]])
    data = datasets.load(str(tmp_path / "toy.hdf5"))
    assert (data.name, data.metric, data.base.dtype) == ("toy", "cosine", np.float32)
    assert data.truth.tolist() == [[0, 1], [1, 0]]


def test_subjects_take_turns_and_the_warm_up_is_not_counted():
    order = []
    subjects = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    samples = timing.interleave(subjects, rounds=2)
    assert "".join(order) == "baabba"
    assert [len(sample.values) for sample in samples.values()] == [2, 2]
    assert 1.0 not in samples["a"].values + samples["b"].values


def test_the_interval_of_a_median_narrows_only_when_the_count_allows():
    assert timing.Samples((3.0, 1.0, 2.0)).interval == (1.0, 3.0)
    assert timing.Samples(tuple(float(i) for i in range(7))).interval == (0.0, 6.0)
    low, high = timing.Samples(tuple(float(i) for i in range(101))).interval
    assert 35 < low < 50 < high < 65


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_sees_the_memory_that_a_block_takes():
    with memory.PeakAnonymous() as watched:
        # Fresh pages of its own, not memory that something else gave back.
        block = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.write(b"x" * len(block))
    assert watched.peak - watched.start > 30e6
    assert memory.resident().anonymous > 30e6


def test_only_the_error_for_a_missing_instruction_set_counts_as_missing():
    told = "srvdb.errors.InvalidInputError: SRVDB_SIMD: expected one of baseline, avx2 "
    told += '(what this processor runs), got "neon"'
    assert exact_recall.lacks("neon", f"Traceback ...\n{told}\n")
    assert not exact_recall.lacks("neon", f"{told}\nRuntimeError: something else\n")
    assert not exact_recall.lacks("avx2", told)
    assert not exact_recall.lacks("neon", "RuntimeError: SRVDB_SIMD kernels disagree\n")
    assert not exact_recall.lacks("nean", told.replace("neon", "nean"))
    assert not exact_recall.lacks("neon", "")


def test_the_table_marks_misses():
    measures = [
        {"measure": "a", "must_reach": "1", "measured": "2", "reached": True},
        {"measure": "b", "must_reach": "1", "measured": "0", "reached": False},
    ]
    text = table([{"command": "run it", "measures": measures, "skipped": ["no peer"]}])
    assert "| b | 1 | 0 | **missed** | `run it` |" in text
    assert "| no peer | | skipped |" in text


# ---- each measure, small -----------------------------------------------------------------------


def test_exact_recall_runs(data_directory, tmp_path):
    small = ["--sets", "tiny", "--queries", "20", "--sample", "5", "--levels", "baseline"]
    record = run_measure("exact_recall", data_directory, tmp_path, *small)
    assert [measure["value"] for measure in record["measures"]] == [1.0, 1.0, 1.0]


def test_hnsw_recall_runs_and_reuses_what_it_built(data_directory, tmp_path):
    for _ in range(2):
        record = run_measure("hnsw_recall", data_directory, tmp_path, "--sets", "tiny")
        assert record["measures"][0]["value"] > 0.9
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_tuning_runs(data_directory, tmp_path):
    record = run_measure("tuning", data_directory, tmp_path, "--sets", "tiny")
    assert len(record["measures"]) == 6
    assert all(measure["value"] > 0.5 for measure in record["measures"])


def test_exact_speed_runs(data_directory, tmp_path):
    small = ["--sets", "tiny", "--rounds", "2", "--batch", "10"]
    record = run_measure("exact_speed", data_directory, tmp_path, *small)
    assert record["measures"] or record["skipped"]
    assert all(measure["reached"] is None for measure in record["measures"])


def test_qps_runs_and_reuses_what_it_measured(data_directory, tmp_path):
    small = ["--sets", "tiny", "--rounds", "2", "--queries", "10", "--peers", "hnswlib"]
    for _ in range(2):
        record = run_measure("qps", data_directory, tmp_path, *small)
        assert record["measures"] or "hnswlib is not installed" in record["skipped"][0]
    wanted = "python -m benchmarks.qps --sets tiny --rounds 2 --queries 10 --peers hnswlib"
    assert record["command"] == wanted
    text = (tmp_path / "results" / "qps.md").read_text()
    assert "| `srvdb` |" in text
    kept = list((tmp_path / "cache" / "measured").glob("*srvdb*-sweep-*.json"))
    assert len(kept) == 1


def test_columns_runs(data_directory, tmp_path):
    record = run_measure("columns", data_directory, tmp_path, "--rows", "3000")
    assert len(record["measures"]) == 9
    assert all(measure["reached"] is None for measure in record["measures"])


def test_build_runs(data_directory, tmp_path):
    record = run_measure("build", data_directory, tmp_path, "--sets", "tiny")
    assert record["measures"] or "hnswlib" in record["skipped"][0]


def test_ingest_runs(data_directory, tmp_path):
    small = ["--rows", "3000", "--dim", "8", "--rounds", "2", "--metadata-rounds", "1"]
    record = run_measure("ingest", data_directory, tmp_path, *small)
    assert any("plain writing" in measure["measured"] for measure in record["measures"])


def test_reopen_runs(data_directory, tmp_path):
    small = ["--rows", "2000", "--dim", "8", "--rounds", "1"]
    record = run_measure("reopen", data_directory, tmp_path, *small)
    assert len(record["measures"]) == 6  # the answer and its memory, in three states of the cache
    for measure in record["measures"][::2]:
        assert [run["hits"] for run in measure["detail"]["runs"]] == [10]


def test_reopen_counts_the_page_faults_of_a_real_set(data_directory, tmp_path):
    small = ["--sets", "tiny", "--rows", "0", "--rounds", "2"]
    record = run_measure("reopen", data_directory, tmp_path, *small)
    assert len(record["measures"]) == 6  # opening and first answer, in three states of the cache
    assert all("page faults" in measure["measured"] for measure in record["measures"])
    used = [m for m in record["measures"] if "earlier process" in m["measure"]]
    assert [run["major_faults"] for m in used for run in m["detail"]["runs"]] == [0, 0, 0, 0]


def test_footprint_leaves_out_the_float32_rows(data_directory, tmp_path):
    record = run_measure("footprint", data_directory, tmp_path, "--sets", "tiny")
    measure = record["measures"][0]
    assert "vectors.bin" in measure["detail"]["files"]
    counted = sum(measure["detail"]["files"].values()) - measure["detail"]["files"]["vectors.bin"]
    assert measure["value"] * 1500 == pytest.approx(counted + measure["detail"]["anonymous"])


def test_while_adding_runs(data_directory, tmp_path):
    small = ["--sets", "tiny", "--base-rows", "400", "--add", "100", "--seconds", "0.4"]
    record = run_measure("while_adding", data_directory, tmp_path, *small, "--rounds", "1")
    rounds = record["measures"][0]["detail"]["rounds"]
    assert len(rounds) == 1
    assert rounds[0]["added"] == 40


def test_durability_runs(data_directory, tmp_path):
    small = ["--rows", "600", "--burst", "300", "--synced", "5", "--rounds", "2", "--dims", "8"]
    kills = ["--base-rows", "2000", "--full-buffer", "100", "--most-log", "500"]
    record = run_measure("durability", data_directory, tmp_path, *small, *kills)
    assert len(record["measures"]) == 6
    assert "no --program" in record["skipped"][0]


MEASURES = sorted(
    file.stem for file in (ROOT / "benchmarks").glob("*.py") if file.stem != "__init__"
)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_can_be_imported(name):
    try:
        importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
