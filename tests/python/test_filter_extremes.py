"""Filters at the edges: nothing, one row, all rows, many values, metadata that nobody expects."""

import json

import numpy as np
import pytest

import srvdb
from helpers import opened, true_scores

ROWS = 20_000  # more than one block of an index over metadata
DIMENSION = 8
K = 10


def metadata_of(i: int, vector: np.ndarray) -> dict:
    return {
        "number": i,
        "half": i / 2,
        "text": f"text {i % 10_000:05}",
        "every": True,
        "side": "right" if vector[0] > 0 else "left",
        "tags": [f"t{i % 7}", f"u{i % 11}"],
        **({"one": {"of": "all"}} if i == 12_345 else {}),
        **({"rare": i} if i % 1000 == 0 else {}),
    }


#: What is asked, and which rows it is about.
CASES = {
    "nothing": ({"number": ROWS}, lambda i, _: False),
    "nothing of a field that is missing": ({"missing": 1}, lambda i, _: False),
    "a contradiction": ({"number": {"$gt": 5, "$lt": 5}}, lambda i, _: False),
    "one row": ({"one.of": "all"}, lambda i, _: i == 12_345),
    "one row by id": ({"$id": "row 00077"}, lambda i, _: i == 77),
    "one number of many": ({"number": 15_000.0}, lambda i, _: i == 15_000),
    "all": ({}, lambda i, _: True),
    "all by a field": ({"every": True}, lambda i, _: True),
    "all by what is not there": ({"missing": {"$ne": 1}}, lambda i, _: True),
    "all but one": ({"number": {"$ne": 7}}, lambda i, _: i != 7),
    "a range over many values": (
        {"half": {"$gte": 2500.5, "$lt": 7000}},
        lambda i, _: 5001 <= i < 14_000,
    ),
    "one text of 10,000": ({"text": "text 04321"}, lambda i, _: i % 10_000 == 4321),
    "a range of texts": ({"text": {"$lt": "text 00100"}}, lambda i, _: i % 10_000 < 100),
    "many of a list": ({"number": {"$in": list(range(0, ROWS, 2))}}, lambda i, _: i % 2 == 0),
    "an element": ({"tags": "t3"}, lambda i, _: i % 7 == 3),
    "two elements": (
        {"$and": [{"tags": "t3"}, {"tags": "u4"}]},
        lambda i, _: (i % 7, i % 11) == (3, 4),
    ),
    "few, spread": ({"rare": {"$exists": True}}, lambda i, _: i % 1000 == 0),
    "where the query is": ({"side": "right"}, lambda i, v: v[0] > 0),
    "where the query is not": ({"side": "left"}, lambda i, v: v[0] <= 0),
    "ids that begin alike": ({"$id": {"$prefix": "row 000"}}, lambda i, _: i < 100),
}


@pytest.fixture(scope="module", params=["waiting", "kept", "linked"])
def many(request, tmp_path_factory):
    """20,000 rows: just added, written out and opened again, or linked into a graph."""
    random = np.random.default_rng(11)
    vectors = random.integers(-30, 31, (ROWS, DIMENSION)).astype(np.float32)  # exact scores
    ids = [f"row {i:05}" for i in range(ROWS)]
    path = tmp_path_factory.mktemp("many") / "db"
    mode = "hnsw" if request.param == "linked" else "flat"
    with srvdb.open(path, metric="l2", mode=mode) as db:
        db.add_batch(ids, vectors, [metadata_of(i, v) for i, v in enumerate(vectors)])
        if request.param == "waiting":
            yield db, vectors
            return
        if request.param == "linked":
            db.optimize()
    with srvdb.open(path) as db:
        yield db, vectors


def rows_of(case: str, vectors: np.ndarray) -> np.ndarray:
    return np.flatnonzero([CASES[case][1](i, vector) for i, vector in enumerate(vectors)])


@pytest.mark.parametrize("case", CASES)
def test_count_and_scroll_find_just_the_rows(many, case):
    db, vectors = many
    where = CASES[case][0]
    rows = rows_of(case, vectors)
    assert db.count(where) == len(rows)
    found = [record.id for record in db.scroll(where=where, limit=10_000)]
    assert found == [f"row {i:05}" for i in rows[:10_000]]


@pytest.mark.parametrize("case", CASES)
def test_search_finds_the_best_of_the_rows(many, case):
    db, vectors = many
    where = CASES[case][0]
    rows = rows_of(case, vectors)
    queries = np.eye(DIMENSION, dtype=np.float32)[:4] * 25
    queries[1] *= -1
    for query in queries:
        best = np.sort(true_scores(vectors[rows], query, "l2"))[::-1][:K]
        exact = db.search(query, K, where=where, exact=True)
        assert np.array_equal([hit.score for hit in exact], best)
        hits = db.search(query, K, where=where, recall=0.99)
        assert len(hits) == min(K, len(rows))  # never fewer, however rows and query lie
        allowed = {f"row {i:05}" for i in rows} if len(rows) < ROWS else None
        assert allowed is None or {hit.id for hit in hits} <= allowed
        if len(rows):
            assert sum(hit.score >= best[-1] for hit in hits) >= 0.8 * len(best)


def test_values_that_change_are_found_as_they_are_now(tmp_path):
    with srvdb.open(tmp_path / "db", auto_flush_threshold=10) as db:
        ids = [f"{i:03}" for i in range(300)]
        db.add(ids, np.eye(300, 4), [{"v": 0, "w": "x" * 100}] * 300)
        for round_ in range(1, 8):
            assert db.update(where={"v": {"$lt": round_}}, metadata={"v": round_}) == 300
            assert db.count({"v": round_}) == 300
            assert db.count({"v": {"$ne": round_}}) == 0
            assert db.count({"w": {"$exists": True}}) == 0
            assert db.update("007", metadata={"v": -1, "w": "y"}) == 1
            assert [r.id for r in db.scroll(where={"v": {"$lt": round_}})] == ["007"]
            assert db.count({"w": "y", "v": -1}) == 1
            if round_ % 3 == 0:
                db.persist()
            if round_ == 5:
                db.compact()
            assert db.facet("v") == [(round_, 299), (-1, 1)]


BIG = "é" * 200_000
UNUSUAL = {
    "deep": '{"a":' * 500 + "7" + "}" * 500,
    "deep list": '{"a":' + "[" * 500 + "7" + "]" * 500 + "}",
    "twice": '{"a": 1, "b": 5, "a": "second"}',
    "escaped twice": '{"\\u0061": 1, "a": {"x": 1}, "\\u0061": [3]}',
    "wide": json.dumps({f"k{i}": i for i in range(20_000)}),
    "big integers": '{"a": 18446744073709551615, "b": -9223372036854775808}',
    "small numbers": '{"a": 1e-400, "b": 5e-324, "c": -0.0, "d": 1E+2, "e": 1.0000000000000001}',
    "long": json.dumps({"s": BIG + "end"}, ensure_ascii=False),
    "long, one letter apart": json.dumps({"s": BIG + "eND"}, ensure_ascii=False),
    "longer than any index keeps": json.dumps({"s": "p" * 64 + "q"}),
    "as long as an index keeps": json.dumps({"s": "p" * 64}),
    "empty": "{}",
    "empty names": '{"": {"": {"": "x"}}}',
    "zero byte": '{"z": "a\\u0000b", "z\\u0000": 1}',
    "beyond 16 bits": '{"e": "\\ud83d\\ude00", "\\uff45": "\\uff5e"}',
    "dots": '{"a.b": 1, "a": {"b": 2}, "a.": {".b": 3}}',
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({".".join("a" * 250): {"$exists": True}}, ["deep"]),
        ({"a": 7}, ["deep list"]),
        ({"a": "second"}, ["twice"]),
        ({"a": {"$in": [1, 3]}}, ["escaped twice"]),
        ({"a.x": {"$exists": True}}, []),
        ({"k19999": {"$gt": 19_998.5}}, ["wide"]),
        ({"a": 2**64 - 1}, ["big integers"]),
        ({"a": {"$gt": 2.0**63}}, ["big integers"]),
        ({"b": {"$lt": -(2**63) + 1}}, ["big integers"]),
        ({"a": 0}, ["small numbers"]),
        ({"b": {"$gt": 0, "$lt": 1e-300}}, ["small numbers"]),
        ({"c": 0, "d": 100, "e": 1}, ["small numbers"]),
        ({"s": BIG + "end"}, ["long"]),
        ({"s": {"$contains": "eéend"[1:]}}, ["long"]),
        ({"s": {"$regex": "é(?i)END$"}}, ["long", "long, one letter apart"]),
        ({"s": {"$gt": BIG + "eZ"}}, ["long"]),
        ({"s": {"$in": [BIG + "eND", "x"]}}, ["long, one letter apart"]),
        ({"s": {"$contains": "pq"}}, ["longer than any index keeps"]),
        ({"s": "p" * 64}, ["as long as an index keeps"]),
        ({"s": {"$gt": "p" * 64, "$lt": "q"}}, ["longer than any index keeps"]),
        ({"": {"$exists": True}}, ["empty names"]),
        ({"..": "x"}, ["empty names"]),
        ({"z": "a\0b", "z\0": 1}, ["zero byte"]),
        ({"e": {"$gt": "\uffff"}}, ["beyond 16 bits"]),
        ({"e": {"$regex": "^.$"}, "\uff45": "\uff5e"}, ["beyond 16 bits"]),
        ({"a.b": 1, "a": {"$exists": True}}, ["dots"]),
        ({"a..b": 3}, []),
        ({"a...b": 3}, ["dots"]),
    ],
)
def test_unusual_metadata_is_read_as_json_says(tmp_path, where, expected, kept):
    with srvdb.open(tmp_path / "db") as db:
        db.add(list(UNUSUAL), np.eye(len(UNUSUAL), 4), list(UNUSUAL.values()))
        if kept:
            db.persist()
        assert sorted(record.id for record in db.scroll(where=where)) == sorted(expected)
        assert db.count({"$not": where}) == len(UNUSUAL) - len(expected)


def test_rows_are_grouped_by_values_longer_than_any_filter(path, kind):
    with opened(kind, path, metric="l2") as db:
        vectors = np.arange(400, dtype=np.float32).reshape(200, 2)
        long = "x" * 200_000
        db.add(
            [f"{i:03}" for i in range(200)],
            vectors,
            [{"g": f"{long}{i % 8 if i < 190 else i}"} for i in range(200)],
        )
        found = db.search([0.0, 0.0], 10, group_by="g", group_size=2)
        first = [f"{i:03}" for i in range(16)]
        assert found.ids == [*first, "190", "191"]


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1e400"])
def test_numbers_beyond_64_bits_are_refused_when_added_and_asked_for(db, number):
    text = f'{{"a": {{"b": {number}}}}}'
    with pytest.raises(srvdb.InvalidInputError):
        db.add(["x"], [[1.0, 2.0]], [text])
    with pytest.raises(srvdb.FilterError, match=r"a\.\$gt: expected"):
        db.count(f'{{"a": {{"$gt": {number}}}}}')


def test_expressions_beyond_the_limits_are_refused(abc):
    deep: dict = {"a": 1}
    for _ in range(33):
        deep = {"$not": deep}
    for where, problem in [
        (deep, "nested more than 32 deep"),
        ({"$or": [{"a": i} for i in range(10_000)]}, "more than 10000 conditions"),
        ({"a": {"$in": list(range(100_001))}}, "more than 100000 operands"),
        ({"a": "x" * (1 << 20)}, "at most 1048576 bytes"),
        ({"a": {"$regex": "x" * 1001}}, "at most 1000 bytes"),
        ({"a": {"$regex": r"(\pL{500}){2}"}}, "the pattern needs more than"),
        ({"x" * 501: 1}, "at most 500 bytes"),
    ]:
        with pytest.raises(srvdb.FilterError, match=problem):
            abc.count(where)
        with pytest.raises(srvdb.FilterError, match=problem):
            abc.search([1.0, 0.0], where=where)
        with pytest.raises(srvdb.FilterError, match=problem):
            abc.delete(where=where)
    assert len(abc) == 3
