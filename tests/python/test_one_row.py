"""add() and upsert() of one row take a short way; it must do what the long way does."""

import threading

import numpy as np
import pytest

import srvdb

ROW = [0.5, -1.25, 3.0]


def taken(db, ids, rows, metadatas=None):
    """Whether the short way takes the arguments."""
    return db._core.write_one(ids, rows, metadatas, False) is not None


@pytest.mark.parametrize(
    "rows",
    [
        np.array([ROW], dtype=np.float32),
        np.array([ROW, ROW], dtype=np.float32)[1:],
        [ROW],
        (tuple(ROW),),
        [[1, 2, 3]],
        [[2**53, -1.5, 7]],
        [[0.1, 1e-46, 3.4e38]],
    ],
    ids=["array", "view", "list", "tuple", "integers", "mixed", "rounded"],
)
@pytest.mark.parametrize(
    "metadatas",
    [None, [None], [{}], [{"n": 1, "deep": {"é": [1.5, None, True]}}], ('{"a": 1}',)],
    ids=["no", "none", "empty", "dict", "text"],
)
def test_one_row_is_stored_as_a_batch_of_two_stores_it(db, path, rows, metadatas):
    assert taken(db, ["short"], rows, metadatas)
    twice = None if metadatas is None else [metadatas[0]] * 2
    assert db.add(["a", "b"], [rows[0], rows[0]], twice) == 2
    for _ in range(2):
        found = db.get_records(["short", "a"], include=["metadata", "embedding"])
        assert found[0].metadata == found[1].metadata
        assert found[0].embedding.tobytes() == found[1].embedding.tobytes()
        db.persist()


@pytest.mark.parametrize(
    "rows",
    [
        np.array([ROW]),
        np.array([ROW], dtype=">f4"),
        np.array([ROW, ROW], dtype=np.float32),
        np.array(ROW, dtype=np.float32),
        np.array([[r, r] for r in ROW], dtype=np.float32)[:, 0][None],
        np.zeros((1, 0), dtype=np.float32),
        [np.array(ROW, dtype=np.float32)],
        [[True, 1.0, 2.0]],
        [[2**70, 1.0, 2.0]],
        [[np.float32(1), 1.0, 2.0]],
        [["1", 1.0, 2.0]],
        [ROW, ROW],
        ROW,
        [],
        [[]],
    ],
    ids=repr,
)
def test_the_short_way_leaves_every_other_form_alone(db, rows):
    assert not taken(db, ["a"], rows)
    assert len(db) == 0


def test_the_short_way_leaves_other_ids_and_metadata_alone(db):
    class Ids(list):
        pass

    for ids in ("a", [1], ["\ud800"], [], ["a", "b"], Ids(["a"]), {"a": 1}, np.array(["a"])):
        assert not taken(db, ids, [ROW])
    for metadatas in ({}, [""], ["\ud800"], [1], [], [{}, {}], "{}"):
        assert not taken(db, ["a"], [ROW], metadatas)
    assert len(db) == 0


@pytest.mark.parametrize(
    ("ids", "rows", "metadatas", "error", "says"),
    [
        (["a"], [ROW], None, srvdb.DuplicateIdError, "'a' already exists"),
        (["b"], [[1.0, 2.0]], None, srvdb.DimensionError, "expected vectors of dimension 3, got 2"),
        (["b"], [[1.0, 1e39, 2.0]], None, srvdb.InvalidInputError, "item 0: component 1"),
        (["b"], [[1.0, float("nan"), 2.0]], None, srvdb.InvalidInputError, "item 0: component 1"),
        ([""], [ROW], None, srvdb.InvalidInputError, "item 0: an id must have 1..511 bytes"),
        (["b"], [ROW], [{"x": float("inf")}], srvdb.InvalidInputError, "item 0: metadata holds"),
        (["b"], [ROW], ["{"], srvdb.InvalidInputError, "item 0: metadata"),
        (["b"], [ROW], [""], srvdb.InvalidInputError, "got an empty str"),
        ([7], [ROW], None, srvdb.InvalidInputError, r"write str\(i\)"),
        (["b"], [ROW], [1], srvdb.InvalidInputError, "metadata must be a dict"),
    ],
)
def test_one_row_is_refused_in_the_words_of_a_batch(db, ids, rows, metadatas, error, says):
    db.add(["a"], [ROW])
    with pytest.raises(error, match=says):
        db.add(ids, rows, metadatas)
    assert len(db) == 1


def test_upsert_of_one_row_replaces_it_and_returns_one(db):
    assert db.upsert(["a"], [ROW], [{"n": 1}]) == 1
    assert db.upsert(["a"], [[9.0, 9.0, 9.0]]) == 1
    record = db.get_records(["a"], include=["metadata", "embedding"])[0]
    assert record.embedding.tolist() == [9.0, 9.0, 9.0]
    assert db.get("a") == "{}"
    assert len(db) == 1


def test_a_closed_database_refuses_one_row(path):
    db = srvdb.open(path)
    db.close()
    with pytest.raises(srvdb.ClosedError):
        db.add(["a"], [ROW])


def test_rows_added_one_by_one_are_seen_by_searches_beside_them(db):
    """A search sees a row from the moment its add has returned, and never half of one."""
    rows = np.random.default_rng(2).standard_normal((3000, 8)).astype(np.float32)
    db.add(["0"], rows[:1])
    done = [0]
    problems = []

    def watch():
        while done[0] < len(rows) - 1:
            known = done[0]
            hits = db.search(rows[known], 1, exact=True)
            if hits[0].id != str(known):
                problems.append((known, hits[0].id))
            if len(db) <= known:
                problems.append((known, len(db)))

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    for i in range(1, len(rows)):
        db.add([str(i)], rows[i : i + 1], [{"n": i}])
        done[0] = i
    for watcher in watchers:
        watcher.join()
    assert problems == []
