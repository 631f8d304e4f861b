"""``indexed_fields``: which fields filters answer from columns; answers are the same anyway."""

from __future__ import annotations

import numpy as np
import pytest

import srvdb

WHERES = [
    {"year": {"$gte": 2010}},
    {"author.name": "n3"},
    {"tags": "t1"},
    {"year": {"$ne": 2001}, "tags": {"$exists": False}},
    {"nothing": 1},
]


def fill(db: srvdb.Database, first: int, count: int) -> None:
    rows = np.ones((count, 2), np.float32)
    numbers = range(first, first + count)
    metadatas = [
        {"year": 2000 + i % 20, "author": {"name": f"n{i % 9}"}}
        | ({"tags": ["a", f"t{i % 5}"]} if i % 3 else {})
        for i in numbers
    ]
    db.add([str(i) for i in numbers], rows, metadatas)


def counts(db: srvdb.Database) -> list[int]:
    return [db.count(where) for where in WHERES]


def test_answers_do_not_depend_on_what_is_indexed(tmp_path):
    expected = None
    for name, fields in [("all", "all"), ("some", ["year"]), ("none", []), ("unsaid", None)]:
        with srvdb.open(tmp_path / name, indexed_fields=fields) as db:
            fill(db, 0, 3000)
            db.persist()
            fill(db, 3000, 100)
            expected = expected or counts(db)
            assert counts(db) == expected, name


def test_it_is_stored_and_may_be_changed(tmp_path):
    path = tmp_path / "db"
    with srvdb.open(path, indexed_fields=["year", "author.name", "year"]) as db:
        assert db.stats()["indexed_fields"] == ["author.name", "year"]
        fill(db, 0, 500)
        expected = counts(db)
    with srvdb.open(path) as db:
        assert db.stats()["indexed_fields"] == ["author.name", "year"]
        assert counts(db) == expected
    for fields in (["tags"], "all", ()):
        with srvdb.open(path, indexed_fields=fields) as db:
            assert db.stats()["indexed_fields"] == (fields if fields == "all" else list(fields))
            assert counts(db) == expected
            assert db.verify(deep=True).is_sound
        with srvdb.open(path, read_only=True) as db:
            assert counts(db) == expected


@pytest.mark.parametrize("fields", ["year", 3, [3], {"year": 1}, b"all", ["x" * 501], [""] * 1025])
def test_wrong_ones_are_refused(tmp_path, fields):
    with pytest.raises(srvdb.InvalidInputError, match="indexed_fields"):
        srvdb.open(tmp_path / "db", indexed_fields=fields)
    assert not (tmp_path / "db" / "MANIFEST").exists()


def test_two_handles_of_a_process_agree_on_it(tmp_path):
    with srvdb.open(tmp_path / "db", indexed_fields=["a"]):
        with pytest.raises(srvdb.InvalidInputError, match="indexed_fields"):
            srvdb.open(tmp_path / "db", indexed_fields=["b"])
        srvdb.open(tmp_path / "db", indexed_fields=["a"]).close()
        srvdb.open(tmp_path / "db").close()
