"""Hit, Hits and Record."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest

import srvdb
from helpers import METRICS


def test_a_hit_is_a_pair_that_knows_more(abc):
    hit = abc.search([1.0, 0.0])[0]
    assert isinstance(hit, tuple)
    assert isinstance(hit, srvdb.Hit)
    assert len(hit) == 2
    assert hit == ("a", 1.0)
    assert hash(hit) == hash(("a", 1.0))
    id, score = hit
    assert (id, score) == (hit.id, hit.score) == (hit[0], hit[1]) == tuple(hit) == hit[:]
    assert hit.metadata == {"year": 2024}
    assert hit.metadata is hit.metadata
    assert hit.embedding.tolist() == [1.0, 0.0]
    assert hit.embedding.dtype == np.float32
    assert repr(hit) == "Hit(id='a', score=1.0)"
    assert {hit: 1}[("a", 1.0)] == 1
    with pytest.raises(AttributeError):
        hit.score = 3
    with pytest.raises(AttributeError):
        hit.other = 3


@pytest.mark.parametrize("metric", METRICS)
def test_distance_is_the_score_turned_round(path, metric):
    with srvdb.open(path, metric=metric) as db:
        db.add(["a", "b"], [[3.0, 4.0], [1.0, 0.0]])
        for hit in db.search([0.0, 2.0]):
            assert hit.distance == (1 - hit.score if metric == "cosine" else -hit.score)
        if metric == "l2":
            assert dict(db.search([0.0, 0.0])) == {"b": -1.0, "a": -25.0}


def test_distance_outlives_the_database_and_pickling(path):
    with srvdb.open(path, metric="l2") as db:
        db.add(["a"], [[3.0, 4.0]])
        late, early = db.search([0.0, 0.0]), db.search([0.0, 0.0])
        assert early[0].distance is early[0].distance
    assert late[0].distance == 25.0
    assert pickle.loads(pickle.dumps(late))[0].distance == 25.0


@pytest.mark.parametrize("collecting", [True, False])
def test_a_search_leaves_the_garbage_collector_as_it_was(abc, collecting):
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        abc.search([1.0, 0.0])
        abc.search_batch([[1.0, 0.0]] * 3)
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if was else gc.disable)()


def test_ids_are_those_of_whatever_the_list_holds(abc):
    hits = abc.search([1.0, 0.0])
    hits.append(("d", 0.5))
    hits.insert(0, srvdb.Hit("e", 2))
    assert hits.ids == ["e", "a", "c", "b", "d"]
    assert srvdb.Hits().ids == []
    hits.append({0: "f"})
    assert hits.ids[-1] == "f"
    hits.append(None)
    with pytest.raises(TypeError):
        hits.ids  # noqa: B018

    class Clearing:
        def __getitem__(self, at):
            hits.clear()
            return "g"

    hits[:] = [("a", 1.0), Clearing(), ("b", 1.0)]
    assert hits.ids == ["a", "g"]


def test_include_reads_with_the_search(path):
    with srvdb.open(path) as db:
        db.add(["a"], [[1.0, 2.0]], [{"x": [1, {"y": None}]}])
        hits = db.search([1.0, 2.0], include=("metadata", "embedding"))
        batch = db.search_batch([[1.0, 2.0]], include=["metadata"])
        late = db.search([1.0, 2.0])
    assert hits[0].metadata == batch[0][0].metadata == {"x": [1, {"y": None}]}
    assert hits[0].embedding.tolist() == [1.0, 2.0]
    with pytest.raises(srvdb.ClosedError, match="closed"):
        late[0].metadata  # noqa: B018
    with pytest.raises(srvdb.ClosedError):
        batch[0][0].embedding  # noqa: B018


def test_embedding_is_as_it_was_searched_and_metadata_as_it_is(abc):
    hit = abc.search([1.0, 0.0])[0]
    abc.upsert(["a"], [[9.0, 9.0]], [{"year": 1}])
    assert hit.embedding.tolist() == [1.0, 0.0]
    gone = abc.search([0.0, 1.0])[0]
    abc.delete(["b"])
    assert gone.metadata is None


def test_hits_do_not_keep_a_database_open(path):
    db = srvdb.open(path)
    db.add(["a"], [[1.0, 2.0]])
    hits = db.search([1.0, 2.0])
    alive = weakref.ref(db)
    del db
    assert alive() is None
    with pytest.raises(srvdb.ClosedError):
        hits[0].metadata  # noqa: B018


def test_hits_pickle_with_what_is_known(abc):
    known = abc.search([1.0, 0.0], k=2, include=["metadata"])
    unknown = abc.search([1.0, 0.0], k=2)
    back = pickle.loads(pickle.dumps(known))
    assert type(back) is srvdb.Hits
    assert type(back[0]) is srvdb.Hit
    assert back == known
    assert back[0].metadata == {"year": 2024}
    assert back[0].distance == known[0].distance
    with pytest.raises(srvdb.ClosedError, match="include"):
        pickle.loads(pickle.dumps(unknown))[0].metadata  # noqa: B018
    assert copy.deepcopy(known) == known
    assert srvdb.Hit("x", 1) == ("x", 1.0)
    with pytest.raises(TypeError):
        srvdb.Hit(1, 2)


def test_hits_leave_no_memory_behind(abc):
    def references():
        gc.collect()
        return sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects())

    def use():
        for _ in range(200):
            for hit in abc.search([1.0, 0.0], include=["metadata"]):
                assert hit.metadata
                assert hit.embedding.size
            pickle.loads(pickle.dumps(abc.search([0.5, 0.5])))

    use()
    before = references()
    use()
    assert references() - before < 50


def test_a_cycle_through_metadata_is_collected(abc):
    class Marker:
        pass

    hits = abc.search([1.0, 0.0], k=1)
    marker = Marker()
    hits[0].metadata["loop"] = [hits, marker]
    alive = weakref.ref(marker)
    del hits, marker
    gc.collect()
    assert alive() is None


def test_hits_is_a_list_with_a_table(abc):
    hits = abc.search([1.0, 0.0])
    assert isinstance(hits, list)
    assert hits.ids == ["a", "c", "b"]
    assert hits.scores.dtype == np.float64
    html = hits._repr_html_()
    assert html.count("<tr>") == 4
    assert "2024" in html


def test_html_is_escaped(db):
    db.add(["<b>"], [[1.0]], [{"a": "<script>"}])
    html = db.search([1.0])._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html


def test_to_pandas(abc):
    pytest.importorskip("pandas")
    abc.add(["d"], [[-1.0, 0.0]], [{"score": 7, "title": "x"}])
    frame = abc.search([1.0, 0.0]).to_pandas()
    assert list(frame.columns) == ["id", "score", "distance", "year", "metadata.score", "title"]
    assert frame["id"].tolist() == ["a", "c", "b", "d"]
    assert list(abc.search([1.0, 0.0]).to_pandas(metadata=False).columns) == [
        "id",
        "score",
        "distance",
    ]
    assert list(srvdb.Hits().to_pandas().columns) == ["id", "score", "distance"]


def test_ids_of_any_script_come_back(db):
    ids = ["plain", "é", "日本", "😀", "a b\n"]
    db.add(ids, np.eye(5))
    assert set(db.search(np.ones(5)).ids) == set(ids)


@pytest.mark.parametrize("busy", [False, True])
def test_hits_of_a_batch_are_the_same_however_many_threads_make_them(path, rng, busy):
    rows = rng.random((6000, 16), dtype=np.float32)
    with srvdb.open(path, mode="hnsw", background=False) as db:
        db.add([f"r{i}" for i in range(len(rows))], rows)
        db.optimize()
        queries = rng.random((2000, 16), dtype=np.float32)
        expected = [list(hits) for hits in db.search_batch(queries, 5, ef=20, threads=1)]
        stop = threading.Event()

        def keep_python():
            while not stop.is_set():
                sum(range(1000))

        other = threading.Thread(target=keep_python)
        if busy:
            other.start()
        try:
            for threads in (2, 3, 0):
                found = db.search_batch(queries, 5, ef=20, threads=threads)
                assert [list(hits) for hits in found] == expected
                assert found[1999][0].embedding.shape == (16,)
        finally:
            stop.set()
            if busy:
                other.join()
        assert gc.isenabled()
