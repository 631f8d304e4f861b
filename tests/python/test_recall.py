"""Recall on real vectors: 1.0 for exact search everywhere, floors for the graph."""

import json
import os

import numpy as np
import pytest

import srvdb
from helpers import METRICS, numbered, recall, rows_and_queries, run_child

# set, rows taken, queries taken: small enough for a test, real enough to find what random data hide
SETS = [
    ("sift-sample-5k", None, 50),
    ("words-25k-100-angular", 8000, 30),
    ("notes-ml-384-angular", 3000, 20),
    ("mnist-784-euclidean-2k", 2000, 20),
    ("sift-photos-80k", 8000, 30),
]
ALL_SIMD = ("baseline", "avx2", "avx512", "avx512vnni", "amxint8", "neon")

PROGRAM = """
import json, sys
import numpy as np
import srvdb

path, file = sys.argv[1:]
answers = {}
with np.load(file) as arrays:
    queries = arrays["queries"]
    for metric in ("cosine", "ip", "l2"):
        for mode in ("flat", "sq8", "hnsw"):
            with srvdb.open(f"{path}-{metric}-{mode}", metric=metric, mode=mode) as db:
                db.add_batch([str(i) for i in range(len(arrays["rows"]))], arrays["rows"])
                if mode == "hnsw":
                    db.optimize()
                one = [list(db.search(query, 10, exact=True)) for query in queries]
                batch = [list(hits) for hits in db.search_batch(queries, 10, exact=True)]
                assert one == batch, (metric, mode)
                answers[f"{metric} {mode}"] = [[list(hit) for hit in hits] for hits in one]
                if mode == "hnsw":
                    walked = db.search_batch(queries, 10, ef=50)
                    answers[f"{metric} walked"] = [[list(hit) for hit in h] for h in walked]
    print(json.dumps({"simd": srvdb.open(path).stats()["simd"], "answers": answers}))
"""


@pytest.mark.parametrize(("name", "n", "n_queries"), SETS)
def test_exact_search_finds_all_under_every_metric_and_mode(tmp_path, name, n, n_queries):
    rows, queries = rows_and_queries(name, n, n_queries)
    for metric in METRICS:
        for mode in ("flat", "sq8", "auto"):
            with srvdb.open(tmp_path / f"{metric}-{mode}", metric=metric, mode=mode) as db:
                db.add_batch(numbered(len(rows)), rows)
                single = [db.search(query, k=10, exact=True) for query in queries]
                batch = db.search_batch(queries, k=10, exact=True, threads=2)
                assert single == batch
                assert recall(rows, queries, single, metric) == 1.0, (metric, mode)


def test_every_instruction_set_gives_the_same_scores_and_the_same_graph(tmp_path):
    rows, queries = rows_and_queries("sift-sample-5k", 1500, 15)
    words, word_queries = rows_and_queries("words-25k-100-angular", 1500, 15)
    for name, base, asked in [("sift", rows, queries), ("words", words, word_queries)]:
        file = tmp_path / f"{name}.npz"
        np.savez(file, rows=base, queries=asked)
        seen = {}
        for simd in (*ALL_SIMD, ""):
            environment = {k: v for k, v in os.environ.items() if k != "SRVDB_SIMD"}
            if simd:
                environment["SRVDB_SIMD"] = simd
            done = run_child(PROGRAM, str(tmp_path / f"{name}-{simd}"), str(file), env=environment)
            if done.returncode != 0 and simd and "SRVDB_SIMD" in done.stderr:
                continue  # this processor does not have it
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            assert not simd or answer["simd"] == simd
            seen[answer["simd"]] = answer["answers"]
        assert len(seen) >= 2
        first = next(iter(seen.values()))
        for level, answers in seen.items():
            for key, value in answers.items():
                assert value == first[key], f"{name}, {level}, {key}"
        for metric in METRICS:
            assert recall(base, asked, first[f"{metric} flat"], metric) == 1.0


@pytest.mark.parametrize(
    ("name", "n", "metric", "floor"),
    [
        ("mnist-784-euclidean-2k", 8000, "l2", 0.98),
        ("sift-photos-80k", 20_000, "l2", 0.97),
        ("words-25k-100-angular", 12_000, "cosine", 0.95),
        ("notes-ml-384-angular", 6000, "cosine", 0.95),
    ],
)
def test_the_graph_reaches_its_floor(tmp_path, name, n, metric, floor):
    rows, queries = rows_and_queries(name, n, 100)
    with srvdb.open(tmp_path / "db", metric=metric, mode="hnsw") as db:
        db.add_batch(numbered(len(rows)), rows)
        db.optimize()
        assert db.stats()["unlinked_rows"] == 0
        answers = db.search_batch(queries, k=10, ef=100)
        found = recall(rows, queries, answers, metric)
        assert found >= floor
        more = recall(rows, queries, db.search_batch(queries, k=10, ef=400), metric)
        assert more >= found - 0.001
    with srvdb.open(tmp_path / "db") as db:
        assert db.search_batch(queries, k=10, ef=100) == answers


def test_the_tail_that_is_not_linked_is_searched(tmp_path):
    rows, queries = rows_and_queries("sift-sample-5k", 4000, 40)
    with srvdb.open(tmp_path / "db", metric="l2", mode="hnsw", background=False) as db:
        db.add(numbered(2000), rows[:2000])
        db.optimize()
        db.add(numbered(2000, 2000), rows[2000:])
        assert db.stats()["unlinked_rows"] >= 1000
        assert recall(rows, queries, db.search_batch(queries, k=10), "l2") >= 0.98
        db.delete(numbered(100))
        assert all(int(id) >= 100 for hits in db.search_batch(queries, k=10) for id in hits.ids)
