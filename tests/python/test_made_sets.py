"""The vector sets that the benchmarks make: kept, repeatable, with exact answers."""

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import datasets, made_sets, recall  # noqa: E402


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Few passages of few words, and a cache of its own."""
    pytest.importorskip("sklearn")
    monkeypatch.setenv("SRVDB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SRVDB_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(made_sets, "DIM", 16)
    monkeypatch.setattr(made_sets, "QUERIES", 20)
    monkeypatch.setattr(made_sets, "DEPTH", 10)
    monkeypatch.setattr(made_sets, "CLUSTERS", 30)
    (tmp_path / "data" / "proposals-text").mkdir(parents=True)
    random = np.random.default_rng(1)
    words = [f"word{i}" for i in range(1500)]
    lines = [json.dumps({"text": " ".join(random.choice(words, 40))}) for _ in range(1100)]
    lines.append(json.dumps({"text": "unheard"}))  # has no direction
    with lzma.open(tmp_path / "data" / "proposals-text" / "passages.jsonl.xz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    return tmp_path


def test_made_sets_hold_their_queries_out_and_know_the_exact_answers(small):
    data = datasets.load("proposals-768")
    assert (data.metric, data.base.shape, data.queries.shape) == ("cosine", (1080, 16), (20, 16))
    assert np.allclose(np.linalg.norm(data.base, axis=1), 1.0, atol=1e-6)
    assert not {row.tobytes() for row in data.base} & {row.tobytes() for row in data.queries}
    wanted = recall.brute_force(data.base, data.queries, "cosine", 10)
    assert np.array_equal(data.truth, wanted)


def test_near_duplicates_lie_in_tight_clusters(small):
    data = datasets.load("near-duplicates")
    gaps = recall.distances(data.base, data.queries, data.truth, "cosine")
    assert data.base.shape == (30 * made_sets.COPIES, 16)
    assert gaps.max() < 0.03


def test_made_sets_are_made_once_and_always_the_same(small, capsys):
    first = datasets.load("near-duplicates")
    assert "making" in capsys.readouterr().out
    assert np.array_equal(datasets.load("near-duplicates").base, first.base)
    assert "making" not in capsys.readouterr().out
    (small / "cache" / "sets" / "near-duplicates" / "data.npz").unlink()
    assert np.array_equal(datasets.load("near-duplicates").base, first.base)


def test_a_set_whose_texts_are_absent_is_skipped_visibly(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SRVDB_DATA", str(tmp_path))
    monkeypatch.setenv("SRVDB_BENCH_CACHE", str(tmp_path))
    assert datasets.load_present(["proposals-768"]) == []
    assert "passages.jsonl.xz does not exist" in capsys.readouterr().err
