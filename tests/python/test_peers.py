"""How libraries are compared: curves, ties, kept results. No peer has to be installed."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import srvdb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import datasets, frontier, timing  # noqa: E402
from benchmarks.peers import graph, jobs, measure, plots, registry, tables, worker  # noqa: E402
from benchmarks.timing import Samples  # noqa: E402

# ---- curves ------------------------------------------------------------------------------------


def test_the_front_keeps_what_no_other_point_beats():
    points = [(0.90, 400.0), (0.94, 100.0), (0.92, 50.0), (0.96, 25.0), (0.90, 300.0)]
    assert frontier.pareto_front(points) == [(0.90, 400.0), (0.94, 100.0), (0.96, 25.0)]
    assert frontier.pareto_front([]) == []


def test_interpolates_on_the_pareto_front_only():
    # The point (0.92, 50) is slower and worse than (0.94, 100), so it must not bend the line.
    points = [(0.90, 400.0), (0.94, 100.0), (0.92, 50.0), (0.96, 25.0)]
    assert frontier.interpolate(points, 0.95) == pytest.approx(50.0)
    assert frontier.interpolate(points, 0.97) is None
    assert frontier.interpolate(points, 0.5) == 400.0


def test_times_the_efforts_on_both_sides_of_each_target():
    recall_at = {10: 0.80, 20: 0.90, 40: 0.96, 80: 0.98, 160: 0.995}
    assert frontier.bracket(recall_at, [0.95]) == [20, 40]
    assert frontier.bracket(recall_at, [0.95, 0.99]) == [20, 40, 80, 160]
    assert frontier.bracket(recall_at, [0.5]) == [10]
    assert frontier.bracket(recall_at, [0.999]) == []


def test_each_recall_takes_the_setting_that_is_fastest_there():
    curves = {"few links": [(0.90, 100.0), (0.99, 10.0)], "many": [(0.90, 60.0), (0.99, 40.0)]}
    assert frontier.best_at(curves, 0.90) == "few links"
    assert frontier.best_at(curves, 0.99) == "many"
    assert frontier.best_at(curves, 0.999) is None


def test_a_difference_within_the_noise_is_a_tie():
    assert timing.verdict(Samples((1.2, 1.1, 1.3, 1.2, 1.1, 1.4, 1.2))) == "faster"
    assert timing.verdict(Samples((1.2, 1.1, 1.3, 0.9, 1.1, 1.4, 1.2))) == "tie"
    assert timing.verdict(Samples((0.8, 0.9, 0.7, 0.9, 0.8, 0.9, 0.8))) == "slower"


def test_the_rate_at_a_recall_is_taken_round_by_round():
    rates = {"ours 10": [400.0, 200.0], "ours 20": [100.0, 50.0], "theirs 10": [1.0, 1.0]}
    samples = measure.rate_at(0.95, {10: 0.94, 20: 0.96}, [10, 20], "ours", rates)
    assert samples.values == pytest.approx((200.0, 100.0))
    assert measure.rate_at(0.97, {10: 0.94, 20: 0.96}, [10, 20], "ours", rates) is None


def test_a_sweep_ends_when_recall_has_levelled_off():
    def points(*recalls):
        return [{"tuning": recall, "recall": recall} for recall in recalls]

    assert worker.levelled_off(points(0.9, 0.95, 0.9501, 0.9502))
    assert not worker.levelled_off(points(0.9, 0.95, 0.9501))
    assert not worker.levelled_off(points(0.95, 0.95))


# ---- queries and specs -------------------------------------------------------------------------


def test_one_half_of_the_queries_tunes_and_the_other_is_reported():
    base = np.eye(10, dtype=np.float32)
    data = datasets.VectorSet("ten", "l2", base, base, np.arange(20).reshape(10, 2))
    tuning, reported = (worker.half(data, start, 5) for start in (0, 1))
    both = np.vstack([tuning.queries, reported.queries])
    assert sorted(both.argmax(axis=1)) == list(range(10))
    assert tuning.truth[:, 0].tolist() == [0, 4, 8, 12, 16]
    assert len(worker.half(data, 1, 3).queries) == 3


def test_tells_bytes_from_floats():
    rows = np.array([[0, 255], [3, 7]], dtype=np.float32)
    assert datasets.VectorSet("bytes", "l2", rows, rows, None).bytes_only
    for wrong in (0.5, -1, 256):
        some = np.array([[0, 1], [3, wrong]], dtype=np.float32)
        assert not datasets.VectorSet("floats", "l2", some, some, None).bytes_only


def test_a_spec_names_a_library_and_its_parameters():
    index = registry.from_spec("svs:storage=lvq8,degree=32,alpha=1.1")
    assert (index.storage, index.degree, index.alpha) == ("lvq8", 32, 1.1)
    with pytest.raises(ValueError, match="no graph index 'annoy'"):
        registry.from_spec("annoy")


def test_every_peer_is_entered_with_settings_that_it_takes():
    for name in registry.GRAPHS:
        for spec in registry.configurations(name):
            assert registry.library_of(spec) == name
            registry.from_spec(spec)
    assert registry.configurations("zvec", every=False) == ("zvec",)  # no second index
    assert registry.configurations("hnswlib:m=48") == ("hnswlib:m=48",)


def test_a_missing_library_says_so(monkeypatch):
    monkeypatch.setattr(registry, "version", lambda package: None)
    with pytest.raises(ImportError, match="pyvsag is not installed"):
        registry.versions(registry.from_spec("vsag"))


def test_variants_of_a_set_share_their_index():
    base = np.eye(4, dtype=np.float32)
    own, foreign = (datasets.VectorSet(n, "cosine", base, base, None) for n in ("a", "a:ood"))
    index, cache = registry.from_spec("srvdb"), Path("cache")
    assert registry.folder_of(index, own, cache) == registry.folder_of(index, foreign, cache)


def test_batches_without_a_call_for_them_are_shared_among_threads():
    class Echo(graph.GraphIndex):
        def parameters(self):
            return {}

        def build(self, data, path, threads):
            return 0.0

        def open(self, shape, path):
            pass

        def searcher(self, k, effort):
            return lambda query: self.named([int(query[0])] * k)

    index = Echo()
    index.names = [f"row {i}" for i in range(7)]
    queries = np.arange(7, dtype=np.float32)[:, None]
    for threads in (1, 2, 3):
        answers = index.batch_searcher(2, 10, threads)(queries)
        assert answers == [[f"row {i}"] * 2 for i in range(7)]
    index.close()


def test_a_database_with_unlinked_rows_is_not_measured(tmp_path):
    rows = np.random.default_rng(3).random((300, 8), dtype=np.float32)
    data = datasets.VectorSet("some", "l2", rows, rows, None)
    index = registry.from_spec("srvdb")
    index.build(data, tmp_path / "linked", 1)
    index.open(graph.Shape.of(data), tmp_path / "linked")
    index.close()
    with srvdb.open(tmp_path / "not", metric="l2", mode="hnsw", background=False) as db:
        db.add_batch([str(i) for i in range(300)], rows)
    with pytest.raises(RuntimeError, match=r"300 rows of .* are not linked"):
        index.open(graph.Shape.of(data), tmp_path / "not")


# ---- kept results ------------------------------------------------------------------------------

JOB = {"kind": "sweep", "set": "tiny", "spec": "hnswlib", "queries": 10, "cache": "here"}
DEPENDS = {"libraries": ["hnswlib", "0.8"], "data": "abc", "machine": "m"}


@pytest.fixture
def started(monkeypatch):
    """Which jobs were started; none really is."""
    calls = []

    def start(self, name, job):
        calls.append(job["spec"])
        return {"answer": len(calls)}

    monkeypatch.setattr(jobs.Jobs, "_start", start)
    return calls


def test_a_cut_run_goes_on_where_it_was(tmp_path, started):
    specs = ["hnswlib", "zvec", "svs"]
    for spec in specs[:2]:
        jobs.Jobs(tmp_path, 60).run("x", {**JOB, "spec": spec}, DEPENDS)
    again = jobs.Jobs(tmp_path, 60)
    answers = [again.run("x", {**JOB, "spec": spec}, DEPENDS)["answer"] for spec in specs]
    assert started == specs
    assert answers == [1, 2, 3]


@pytest.mark.parametrize("part", ["libraries", "data", "machine"])
def test_a_result_is_kept_for_its_version_data_and_machine_alone(tmp_path, started, part):
    kept = jobs.Jobs(tmp_path, 60)
    kept.run("x", JOB, DEPENDS)
    kept.run("x", JOB, {**DEPENDS, part: "another"})
    kept.run("x", {**JOB, "queries": 20}, DEPENDS)
    assert len(started) == 3


def test_where_files_lie_does_not_matter_to_a_kept_result(tmp_path, started):
    kept = jobs.Jobs(tmp_path, 60)
    kept.run("x", JOB, DEPENDS)
    kept.run("x", {**JOB, "cache": "there"}, DEPENDS)
    assert len(started) == 1


def test_results_can_be_asked_for_afresh(tmp_path, started):
    jobs.Jobs(tmp_path, 60).run("x", JOB, DEPENDS)
    jobs.Jobs(tmp_path, 60, fresh=["duel"]).run("x", JOB, DEPENDS)
    assert len(started) == 1
    jobs.Jobs(tmp_path, 60, fresh=["sweep"]).run("x", JOB, DEPENDS)
    jobs.Jobs(tmp_path, 60).run("x", JOB, DEPENDS, again=True)
    assert len(started) == 3


def test_the_order_of_a_key_does_not_matter():
    assert jobs.digest({"a": 1, "b": [2]}) == jobs.digest({"b": [2], "a": 1})
    assert jobs.digest({"a": 1}) != jobs.digest({"a": 2})


def test_a_job_out_of_time_is_skipped_until_it_is_given_more(tmp_path, monkeypatch):
    limits = []

    def run(command, timeout, **_):
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(jobs.subprocess, "run", run)
    for limit in (5, 5, 4, 9):
        with pytest.raises(jobs.Skipped, match=r"sweep takes more than \d s"):
            jobs.Jobs(tmp_path, limit).run("x", JOB, DEPENDS)
    assert limits == [5, 9]


def test_a_job_that_fails_is_skipped_with_its_reason_and_tried_again(tmp_path):
    broken = {"kind": "sweep", "set": "no-such-set", "rows": None, "spec": "srvdb", "k": 1}
    with pytest.raises(jobs.Skipped, match="no vector set 'no-such-set'"):
        jobs.Jobs(tmp_path, 60).run("x", broken, DEPENDS)
    assert list(tmp_path.iterdir()) == []


# ---- what is written ---------------------------------------------------------------------------


def result_of(ratio):
    built = {"build_s": 1.0, "processor_s": 2.0, "peak_bytes": 3e6, "disk_bytes": 4e6}
    names = ("open_ms", "answer_ms", "minor_faults", "anonymous_bytes", "file_bytes")
    opened = [dict.fromkeys(names, 5.0)]
    points = [
        {"effort": 10, "tuning": 0.9, "recall": 0.91, "tuning_qps": 100.0, "qps": 90.0},
        {"effort": 20, "tuning": 0.97, "recall": 0.96, "tuning_qps": 50.0, "qps": 45.0},
    ]
    curves = [measure.Curve(spec, built, points, opened) for spec in ("srvdb", "hnswlib")]
    theirs = Samples((100.0,) * len(ratio))
    mine = Samples(tuple(100.0 * r for r in ratio))
    outcome = measure.Outcome(0.95, "one", "srvdb", "hnswlib", mine, theirs)
    return measure.SetResult("tiny", 1000, 16, "l2", False, curves, [outcome])


def test_the_tables_hold_ratios_ties_and_costs():
    text = tables.markdown([result_of([2.0] * 7)], "run it")
    assert "| tiny | 0.95 | 200 | 2.00 [2.00, 2.00] |" in text
    assert "| `hnswlib` | 1.0 | 2.0 | 3 | 4 | 5.0 | 5.0 | 5 | 0 | 0 |" in text
    assert "uint8" not in text
    assert "1.00 [0.90, 1.10] tie" in tables.markdown([result_of([0.9, 1.0, 1.1])], "run it")


def test_the_plot_is_drawn_the_same_every_time(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        assert plots.draw(result_of([2.0] * 7), tmp_path / name, "run --it $HOME")
    peers_alone = dataclasses.replace(result_of([2.0]), curves=result_of([2.0]).curves[1:])
    assert plots.draw(peers_alone, tmp_path / "c.svg", "run --it")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "recall@10" in (tmp_path / "a.svg").read_text()


def test_a_worker_writes_its_result_into_the_file(tmp_path, monkeypatch):
    random = np.random.default_rng(2)
    base = random.integers(0, 256, size=(400, 8), dtype=np.uint8)
    (tmp_path / "tiny").mkdir()
    np.savez(tmp_path / "tiny" / "data.npz", base=base, queries=base[:20], gt=np.zeros((20, 1)))
    monkeypatch.setenv("SRVDB_DATA", str(tmp_path))
    job = {"kind": "build", "set": "tiny", "rows": None, "spec": "srvdb", "threads": 1}
    job.update(cache=str(tmp_path / "cache"), rebuild=False)
    built = jobs.Jobs(tmp_path / "kept", 60).run("x", job, DEPENDS)
    assert built["disk_bytes"] > base.size
    kept = [json.loads(path.read_text()) for path in (tmp_path / "kept").iterdir()]
    assert kept[0]["result"] == built
