"""Opening, filling, searching, closing, reopening."""

import json

import numpy as np
import pytest

import srvdb
from helpers import METRICS, numbered, true_scores


def test_first_batch_decides_the_dimension(path):
    with srvdb.open(path) as db:
        assert db.stats()["dimension"] is None
        assert db.search([1.0, 2.0, 3.0]) == []
        assert db.add(["a"], [[1, 2, 3]]) == 1
        assert db.stats()["dimension"] == 3
        with pytest.raises(srvdb.DimensionError, match=r"3.*4|4.*3"):
            db.add(["b"], [[1, 2, 3, 4]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("mode", ["flat", "sq8", "hnsw", "auto"])
def test_search_returns_best_first(path, rng, metric, mode):
    rows = rng.normal(size=(500, 24)).astype(np.float32)
    query = rng.normal(size=24).astype(np.float32)
    with srvdb.open(path, metric=metric, mode=mode) as db:
        db.add(numbered(500), rows)
        hits = db.search(query, k=500, exact=True)
        expected = true_scores(rows, query, metric)
        assert [int(id) for id, _ in hits] == np.argsort(-expected, kind="stable").tolist()
        assert hits.scores == pytest.approx(expected[np.argsort(-expected)], abs=1e-5)
        assert {id for id, _ in db.search(query, k=5)} <= {id for id, _ in hits[:50]}


@pytest.mark.parametrize("id", ["é" * 255, "x" * 511, "a\0b", "😀", " ", "{}", "../x"])
def test_any_id_of_1_to_511_bytes_is_kept(path, id):
    with srvdb.open(path) as db:
        db.add([id, "other"], [[1, 0], [0, 1]])
        db.persist()
    with srvdb.open(path) as db:
        assert db.search([1, 0], k=1).ids == [id]
        assert db.get(id) == "{}"
        assert set(db) == {id, "other"}
        assert db.delete([id]) == 1


def test_equal_scores_come_in_id_order(db):
    db.add(["c", "a", "é", "b", "z"], [[1, 1]] * 5)
    assert db.search([1, 1], k=5).ids == ["a", "b", "c", "z", "é"]


def test_fewer_matches_than_k_give_a_shorter_list(abc):
    assert len(abc.search([1, 0], k=1000)) == 3
    assert len(abc.search_batch([[1, 0]] * 2, k=2**40)[1]) == 3


def test_a_write_is_visible_to_the_next_search(db):
    for i in range(50):
        db.add([f"id{i}"], [[i, 1.0]])
        assert db.search([i, 1.0], k=1).ids == [f"id{i}"] or i == 0
        assert f"id{i}" in db


def test_a_zero_vector_scores_zero_under_cosine(db):
    db.add(["zero", "one"], [[0, 0], [1, 0]])
    assert db.search([1, 0]) == [("one", 1.0), ("zero", 0.0)]
    assert [score for _, score in db.search([0, 0])] == [0.0, 0.0]


def test_upsert_replaces_and_the_last_of_equal_ids_wins(abc):
    assert abc.upsert(["a", "d", "a"], [[9, 9], [5, 5], [0, 3]], [{"n": 1}, None, {"n": 2}]) == 3
    assert len(abc) == 4
    assert abc.get("a") == '{"n": 2}'
    assert abc.get("d") == "{}"
    record = abc.get_records(["a"], include=["embedding"])[0]
    assert record.embedding.tolist() == [0, 3]
    assert record.metadata is None


def test_delete_ignores_unknown_ids_and_counts_the_others(abc):
    assert abc.delete(["a", "nobody", "c", "a"]) == 2
    assert list(abc) == ["b"]
    assert abc.search([1, 0]).ids == ["b"]
    assert abc.delete([]) == 0
    assert abc.add(["a"], [[1, 0]]) == 1


def test_metadata_comes_back_as_it_was_given(db):
    text = '{ "spaced" :  [1,2.50, "\\u00e9"] }'
    values = {
        "text": 'quotes " and \\ and \n and \x01 and é and 😀',
        "numbers": [0, -1, 2**62, 0.1, 1e300, 1e-7, 1e16],
        "truth": [True, False, None],
        "nested": {"list": [[], {}, ()], "numpy": np.int64(7).item()},
    }
    db.add(["text", "dict", "none"], np.ones((3, 2)), [text, values, None])
    assert db.get("text") == text
    assert db.get("dict") == json.dumps(values, ensure_ascii=False)
    assert db.get("none") == "{}"
    assert db.get("nobody") is None


def test_numpy_scalars_in_metadata_become_numbers(db):
    metadata = {"i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "s": np.str_("x")}
    db.add(["a"], [[1.0]], [metadata])
    assert json.loads(db.get("a")) == {"i": 3, "f": 0.5, "b": True, "s": "x"}


def test_scroll_goes_through_everything_in_id_order(db):
    ids = [f"{i:03d}" for i in range(250)]
    db.add(ids, np.ones((250, 2)), [{"i": i} for i in range(250)])
    seen, after = [], None
    while page := db.scroll(limit=99, after=after, include=("metadata", "embedding")):
        seen += page
        after = page[-1].id
    assert [record.id for record in seen] == ids
    assert [record.metadata["i"] for record in seen] == list(range(250))
    assert seen[0].embedding.dtype == np.float32
    assert db.get_all_ids() == ids == list(db.ids())


def test_reopened_it_is_the_same(path, rng):
    rows = rng.normal(size=(3000, 16)).astype(np.float32)
    query = rng.normal(size=16).astype(np.float32)
    with srvdb.open(path, metric="ip") as db:
        db.add(numbered(3000), rows, [{"i": i} for i in range(3000)])
        db.delete(numbered(50))
        before = db.search(query, k=20)
    with srvdb.open(path) as db:
        assert db.stats()["metric"] == "ip"
        assert len(db) == 2950
        after = db.search(query, k=20)
        assert after == before
        assert after[0].metadata == {"i": int(after[0].id)}
        assert np.array_equal(after[0].embedding, rows[int(after[0].id)])


def test_stored_options_that_differ_are_refused_and_both_are_named(path):
    srvdb.open(path, dimension=8, metric="l2", mode="flat", m=8, ef_construction=50).close()
    for option, stored, other in [
        ("metric", "l2", "cosine"),
        ("mode", "flat", "auto"),
        ("m", "8", 16),
        ("ef_construction", "50", 200),
        ("dimension", "8", 9),
    ]:
        with pytest.raises(srvdb.SrvDBError) as caught:
            srvdb.open(path, **{option: other})
        assert isinstance(caught.value, ValueError)
        assert stored in str(caught.value)
        assert str(other) in str(caught.value)
    with srvdb.open(path) as db:
        assert db.stats()["mode"] == "flat"


def test_set_mode_is_stored(path):
    with srvdb.open(path, mode="flat") as db:
        db.set_mode("hnsw")
    with srvdb.open(path) as db:
        assert db.stats()["mode"] == "hnsw"


def test_optimize_links_every_row_and_says_how_far_it_is(path, rng):
    seen = []
    with srvdb.open(path, mode="hnsw") as db:
        db.add(numbered(5000), rng.normal(size=(5000, 16)))
        db.optimize(progress=lambda done, total: seen.append((done, total)))
        stats = db.stats()
        assert stats["unlinked_rows"] == 0
        assert stats["searching"] == "hnsw"
    assert seen == sorted(seen)
    assert all(done <= total for done, total in seen)


def test_closed_database_says_so(abc):
    abc.close()
    abc.close()
    for call in (abc.count, abc.persist, lambda: abc.search([1, 0]), lambda: abc.add([], [])):
        with pytest.raises(srvdb.ClosedError):
            call()
    assert "closed" in repr(abc)
    assert "closed" in abc._repr_html_()


def test_two_openings_in_one_process_share_the_database(path):
    first, second = srvdb.open(path), srvdb.open(path)
    first.add(["a"], [[1, 2]])
    assert "a" in second
    first.close()
    assert second.count() == 1
    second.close()


def test_reading_what_is_not_there_creates_nothing(path):
    with pytest.raises(srvdb.NotFoundError) as caught:
        srvdb.open(path, create=False)
    assert str(path) in str(caught.value)
    assert not str(caught.value).startswith("'")
    assert not path.exists()


def test_read_only_refuses_writes(path):
    with srvdb.open(path) as db:
        db.add(["a"], [[1, 2]])
    with srvdb.open(path, read_only=True) as db:
        assert db.search([1, 2]).ids == ["a"]
        with pytest.raises(srvdb.ReadOnlyError):
            db.add(["b"], [[1, 2]])


def test_empty_database_is_true_and_knows_its_length(db):
    assert db
    assert len(db) == 0
    with pytest.raises(srvdb.InvalidInputError, match=r"write str\(i\)"):
        assert 3 not in db


def test_it_shows_itself(abc):
    assert repr(abc).startswith("srvdb.Database(")
    assert "count=3" in repr(abc)
    assert "<table>" in abc._repr_html_()
    assert abc.info() == "SrvDB(dimension=2, mode='auto', vectors=3)"


def test_links_of_a_row_are_2_to_128(path):
    for wrong in (1, 129):
        with pytest.raises(srvdb.InvalidInputError, match="m must be from 2 to 128"):
            srvdb.open(path, m=wrong)
    with srvdb.open(path, m=128) as db:
        assert db.stats()["m"] == 128
