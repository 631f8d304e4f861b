"""recall= is a promise: kept on real queries, measured unasked, shown by stats()."""

import time

import numpy as np
import pytest

import srvdb
from helpers import load_set, numbered, opened, rows_and_queries


def slack(target: float, queries: int) -> float:
    """Three standard errors of a mean of recalls, whose spread is about that of 10 / 3 coins."""
    return 3 * (target * (1 - target) * 0.3 / queries) ** 0.5


def share_found(db, queries, target: float | None) -> float:
    """Recall against exact search, ties counted."""
    right = total = 0
    found = db.search_batch(queries) if target is None else db.search_batch(queries, recall=target)
    for hits, best in zip(found, db.search_batch(queries, exact=True), strict=True):
        right += sum(score >= best[-1].score for _, score in hits)
        total += len(best)
    return right / total


def curve_of(db, k=10):
    return db.stats()["calibration"]["curves"][k]


@pytest.mark.parametrize(
    ("name", "n", "metric"),
    [
        ("sift-photos-80k", 12_000, "l2"),
        ("words-25k-100-angular", 8000, "cosine"),
        ("words-25k-100-angular", 12_000, "ip"),
        ("notes-ml-384-angular", 6000, "cosine"),
    ],
)
def test_a_wanted_recall_is_reached_on_real_queries(path, name, n, metric):
    rows, queries = rows_and_queries(name, n, 300)
    with srvdb.open(path, metric=metric, mode="hnsw", background=False) as db:
        db.add_batch(numbered(len(rows)), rows)
        db.optimize()
        assert curve_of(db)["of"] == "rows"
        for target in (0.9, 0.95, 0.99):
            found = share_found(db, queries, target)
            assert found >= target - slack(target, len(queries)), target


def test_foreign_queries_count_once_they_have_been_asked(path):
    rows, _ = rows_and_queries("notes-ml-384-angular", 8000, 1)
    foreign = load_set("notes-ml-384-angular")["queries_ood"].astype(np.float32)
    before, after = foreign[:300], foreign[300:600]
    with srvdb.open(path, mode="hnsw", background=False) as db:
        db.add_batch(numbered(len(rows)), rows)
        db.optimize()
        easy = curve_of(db)
        db.search_batch(before, recall=0.95)
        db.optimize()
        assert curve_of(db)["of"] == "searches"
        assert curve_of(db)["queries"] == 256
        assert curve_of(db)["curve"][0][1] < easy["curve"][0][1]
        for target in (0.9, 0.95, 0.99):
            found = share_found(db, after, target)
            assert found >= target - slack(target, len(after)), target
    with srvdb.open(path, recall=0.95) as db:  # at once, without another measurement
        found = share_found(db, after, None)
        assert found >= 0.95 - slack(0.95, len(after))


def test_it_is_measured_in_the_background(path):
    rows, queries = rows_and_queries("sift-sample-5k", 5000, 50)
    with srvdb.open(path, metric="l2", mode="hnsw") as db:
        assert db.stats()["calibration"]["state"] == "none"
        db.add(numbered(len(rows)), rows)
        deadline = time.monotonic() + 30
        while db.stats()["calibration"]["state"] != "measured" and time.monotonic() < deadline:
            time.sleep(0.01)
        found = db.stats()["calibration"]
        assert found["state"] == "measured"
        assert found["rows"] > 4000
        points = found["curves"][10]["curve"]
        assert points == sorted(points)
        assert all(bound <= share for _, share, bound, _ in points)
        assert share_found(db, queries, 0.9) >= 0.85


@pytest.mark.parametrize("kind", ["one", "sharded"])
def test_recall_in_every_place_that_takes_it(path, kind):
    rows, queries = rows_and_queries("sift-sample-5k", 5000, 20)
    with opened(kind, path, metric="l2", mode="hnsw", recall=1.0) as db:
        db.add(numbered(len(rows)), rows)
        db.optimize()
        exact = db.search_batch(queries, exact=True)
        assert db.search_batch(queries) == exact
        assert [db.search(query) for query in queries] == exact
        assert db.stats()["recall"] == 1
        assert db.search_batch(queries, ef=10) != exact
        assert db.search_batch(queries, recall=0.5) != exact
        db.set_ef_search(10)
        assert db.stats()["recall"] is None
        assert db.search_batch(queries) != exact
        db.set_recall(1)
        assert db.search_batch(queries) == exact


def test_recall_and_ef_from_one_place_are_refused_and_the_earlier_place_wins(path, monkeypatch):
    with pytest.raises(srvdb.InvalidInputError, match="recall or ef"):
        srvdb.open(path, recall=0.9, ef=50)
    with pytest.raises(srvdb.InvalidInputError, match="recall or ef"):
        srvdb.open(path, config={"recall": 0.9, "ef": 50})
    monkeypatch.setenv("SVDB_RECALL", "0.95")
    with srvdb.open(path, config={"ef": 50}) as db:
        assert db.stats()["recall"] == 0.95
        assert db.stats()["settings"]["recall"] == {
            "value": 0.95,
            "source": "environment SVDB_RECALL",
        }
    with srvdb.open(path, ef=50) as db:
        assert db.stats()["recall"] is None
        assert db.stats()["ef"] == 50
        with pytest.raises(srvdb.InvalidInputError, match="recall"):
            db.search([1.0], recall=0.9, ef=10)


@pytest.mark.parametrize("bad", [0, -0.1, 1.1, float("nan"), True, "0.9", None])
def test_recalls_that_make_no_sense_are_refused(abc, bad):
    if bad is not None:
        with pytest.raises(srvdb.InvalidInputError, match="recall"):
            abc.search([1.0, 0.0], recall=bad)
    with pytest.raises(srvdb.InvalidInputError, match="recall"):
        abc.set_recall(bad)


@pytest.fixture
def linked(path):
    random = np.random.default_rng(5)
    with opened("one", path, metric="l2", mode="hnsw", m=8) as db:
        db.add(numbered(6000), random.standard_normal((6000, 12)))
        db.optimize()
        yield db, random.standard_normal((50, 12))


def test_a_width_that_nobody_named_is_at_least_k(linked):
    db, queries = linked
    assert db.search_batch(queries, 300) == db.search_batch(queries, 300, ef=300)
    db.set_ef_search(5)
    assert db.search_batch(queries, 40) == db.search_batch(queries, 40, ef=40)


def test_a_width_below_k_is_taken_and_gives_k_hits(linked):
    db, queries = linked
    narrow = db.search_batch(queries, 40, ef=5)
    assert {len(hits) for hits in narrow} == {40}
    assert narrow != db.search_batch(queries, 40, ef=40)


def test_ids_that_recommend_names_do_not_use_up_its_width(linked):
    db, _ = linked
    named = numbered(200)
    found = db.recommend(named, k=10, ef=20).ids
    assert found == db.recommend(named, k=10, ef=20, exact=True).ids
