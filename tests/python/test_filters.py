"""``where=`` in every verb, in one database and in shards."""

import math
from datetime import date
from types import MappingProxyType

import numpy as np
import pytest

import srvdb
from helpers import opened, true_scores
from srvdb import FacetValue

BOOKS = {
    "a": {"year": 1999, "author": {"name": "Ann"}, "tags": ["x", "y"], "rating": 4.5},
    "b": {"year": 2005, "author": {"name": "Bob"}, "tags": ["y"], "open": True},
    "c": {"year": 2020, "author": {"name": "Ann"}, "tags": [], "note": None},
    "d": {"year": 2020.0, "title": "Über allen Gipfeln", "date": "2020-05-01"},
    "e": {},
    "f/1": {"year": "2020", "date": "2021-01-01"},
}


@pytest.fixture
def books(path, kind, rng):
    """Six rows with metadata of every kind."""
    with opened(kind, path) as db:
        db.add(list(BOOKS), rng.standard_normal((len(BOOKS), 8)), list(BOOKS.values()))
        yield db


CASES = [
    ({}, "abcdef"),
    ({"year": 2020}, "cd"),
    ({"year": {"$gte": 2005}}, "bcd"),
    ({"year": {"$gt": 1999, "$lt": 2020}}, "b"),
    ({"year": {"$ne": 2020}}, "abef"),
    ({"year": {"$in": [1999, 2005.0]}}, "ab"),
    ({"year": {"$nin": [1999, 2005]}}, "cdef"),
    ({"year": {"$exists": False}}, "e"),
    ({"author.name": "Ann"}, "ac"),
    ({"tags": "y"}, "ab"),
    ({"tags": {"$contains": "x"}}, "a"),
    ({"title": {"$contains": "allen"}}, "d"),
    ({"title": {"$regex": "^Ü.*ln$"}}, "d"),
    ({"note": None}, "c"),
    ({"open": True}, "b"),
    ({"rating": {"$gte": 4.5}}, "a"),
    ({"date": {"$gte": "2020-05-01"}}, "df"),
    ({"$or": [{"year": 1999}, {"tags": "y"}]}, "ab"),
    ({"$and": [{"year": 2020}, {"$not": {"author.name": "Ann"}}]}, "d"),
    ({"$id": {"$in": ["a", "e", "nobody"]}}, "ae"),
    ({"$id": {"$prefix": "f/"}}, "f"),
    ({"$id": "b"}, "b"),
    ({"year": np.int64(2020), "author.name": np.str_("Ann")}, "c"),
    ({"year": 12345}, ""),
    ('{"year": 2020}', "cd"),
]


def ids_of(letters):
    return ["f/1" if letter == "f" else letter for letter in letters]


@pytest.mark.parametrize(("where", "letters"), CASES)
@pytest.mark.parametrize("stored", [False, True])
def test_a_filter_finds_its_rows_in_every_verb(books, where, letters, stored):
    if stored:
        books.persist()
    expected = ids_of(letters)
    assert books.count(where) == len(expected)
    assert [record.id for record in books.scroll(where=where)] == expected
    assert [record.id for record in books.get_records(where=where)] == expected
    query = np.ones(8, dtype=np.float32)
    assert sorted(books.search(query, 10, where=where).ids) == expected
    assert sorted(books.search(query, 10, where=where, exact=True).ids) == expected
    assert sorted(books.search_batch([query], 10, where=where)[0].ids) == expected
    assert sum(count for _, count in books.facet("year", where)) == len(
        [id for id in expected if "year" in BOOKS[id]]
    )
    found = books.get_records(list(BOOKS), where=where)
    assert [record.id for record in found if record] == [id for id in BOOKS if id in expected]


def test_one_filter_for_all_queries_or_one_for_each(books):
    queries = np.eye(8)[:3]
    wheres = [{"year": 2020}, None, {"tags": "y"}]
    for threads in (0, 1, 2, 8):
        hits = books.search_batch(queries, 10, where=wheres, threads=threads)
        assert [sorted(part.ids) for part in hits] == [ids_of("cd"), ids_of("abcdef"), ids_of("ab")]
    with pytest.raises(srvdb.FilterError, match="each of 3 queries; got 2"):
        books.search_batch(queries, 10, where=wheres[:2])


def test_pages_of_a_filter_join_without_gap_or_repetition(path, kind, rng):
    with opened(kind, path) as db:
        n = 3000
        ids = [f"{i:05}" for i in range(n)]
        db.add(ids, rng.standard_normal((n, 4)), [{"n": i, "even": i % 2 == 0} for i in range(n)])
        for where, expected in (
            ({"even": True}, ids[::2]),
            ({"n": {"$lt": 10}}, ids[:10]),
            ({"n": {"$gte": 100}}, ids[100:]),
        ):
            for limit in (7, 999, 10_000):
                found, after = [], None
                while page := db.scroll(where=where, limit=limit, after=after):
                    assert len(page) <= limit
                    found += [record.id for record in page]
                    after = found[-1]
                assert found == expected


def test_facets_come_most_frequent_first(books):
    assert books.facet("year") == [(2020, 2), (1999, 1), (2005, 1), ("2020", 1)]
    assert books.facet("tags") == [("y", 2), ("x", 1)]
    assert books.facet("tags", {"year": 1999}) == [("x", 1), ("y", 1)]
    assert books.facet("author.name", limit=1) == [FacetValue("Ann", 2)]
    assert books.facet("note") == [(None, 1)]
    assert books.facet("open")[0].value is True
    assert books.facet("nothing") == []
    with pytest.raises(srvdb.InvalidInputError, match="field must be str"):
        books.facet(3)
    with pytest.raises(srvdb.InvalidInputError, match="limit must be at least 1"):
        books.facet("year", limit=0)


def test_facets_tell_true_from_one(path, kind):
    with opened(kind, path) as db:
        db.add(["a", "b", "c", "d"], np.eye(4), [{"v": True}, {"v": 1}, {"v": 1.0}, {"v": False}])
        found = db.facet("v")
        assert [(repr(value), count) for value, count in found] == [
            ("1", 2),
            ("False", 1),
            ("True", 1),
        ]


def test_delete_soft_delete_and_update_take_a_filter(books):
    assert books.soft_delete(where={"tags": "y"}) == 2
    assert books.deleted_ids() == ["a", "b"]
    assert books.count({"tags": "y"}) == 0
    assert books.delete(where={"tags": "y"}) == 0
    assert books.restore(["a"]) == 1
    assert books.update(where={"author.name": "Ann"}, metadata={"seen": 1}) == 2
    assert books.get("a") == books.get("c") == '{"seen": 1}'
    assert books.update(where={"year": 2020}, metadata='{"seen": 2}') == 1
    assert books.count({"seen": {"$exists": True}}) == 3
    assert books.delete(where={"seen": {"$gte": 1}}) == 3
    assert sorted(books.ids()) == ["e", "f/1"]
    assert books.delete(where={}) == 2
    assert books.restore(["b"]) == 1


def test_an_expiry_is_set_by_filter(both, clock):
    assert both.update(where={"year": {"$gte": 2025}}, expires_at=clock.now.timestamp() + 60) == 2
    clock.forward(seconds=61)
    assert list(both.ids()) == ["a"]


def test_ids_or_a_filter_but_not_both(both):
    for verb in (both.delete, both.soft_delete):
        with pytest.raises(srvdb.InvalidInputError, match="got neither"):
            verb()
        with pytest.raises(srvdb.InvalidInputError, match="got both"):
            verb(["a"], where={"year": 2024})
    with pytest.raises(srvdb.InvalidInputError, match="got both"):
        both.update("a", metadata={}, where={"year": 2024})
    with pytest.raises(srvdb.InvalidInputError, match="metadata and expires_at only"):
        both.update(embedding=[1.0, 0.0], where={"year": 2024})
    with pytest.raises(srvdb.InvalidInputError, match="to change, got none"):
        both.update(where={"year": 2024})
    with pytest.raises(srvdb.InvalidInputError, match="needs ids or where"):
        both.get_records()
    assert both.count() == 3


REFUSED = [
    ({"year": {"$what": 1}}, r"year\.\$what|\$what"),
    ({"year": {"$gt": None}}, r"year\.\$gt"),
    ({"year": {"$in": 5}}, r"year\.\$in"),
    ({"$and": [{"a": 1}, {"b": {"$regex": "("}}]}, r"\$and\[1\]\.b\.\$regex"),
    ({"year": math.nan}, "year: expected a finite number, got nan"),
    ({"a": {"$in": [1, 2**64]}}, r"a\.\$in\[1\]: expected an integer of 64 bits"),
    ({"a": {"$gt": date(2020, 1, 1)}}, r"a\.\$gt: .*got date.*isoformat"),
    ({"a": {"$in": {1, 2}}}, r"a\.\$in: .*got set.*list\(value\)"),
    ({"a": {"$in": np.arange(3)}}, r"a\.\$in: .*tolist"),
    ({1: 2}, "keys must be str, got int"),
    ({"a": {"\ud800": 1}}, "a: not valid Unicode"),
    ({"n": 10**5000}, "n: expected an integer of 64 bits, got one of 16610 bits"),
    ({"n": MappingProxyType({"$gt": 1})}, r"n: expected a dict, got mappingproxy; write dict"),
    ({"a": "\ud800"}, "a: not valid Unicode"),
    ([("a", 1)], "where must be a dict, got list"),
    (5, "where must be a dict, got int"),
    ("", "got an empty str"),
    ("[1]", "object"),
    ("{", "JSON"),
]


@pytest.mark.parametrize(("where", "message"), REFUSED)
def test_a_filter_that_cannot_be_read_is_refused_with_its_place(both, where, message):
    calls = [
        lambda: both.count(where),
        lambda: both.scroll(where=where),
        lambda: both.get_records(where=where),
        lambda: both.facet("year", where),
        lambda: both.delete(where=where),
        lambda: both.soft_delete(where=where),
        lambda: both.update(where=where, metadata={}),
    ]
    if not isinstance(where, list):
        calls.append(lambda: both.search([1.0, 0.0], where=where))
        calls.append(lambda: both.search_batch([[1.0, 0.0]], where=where))
    for call in calls:
        with pytest.raises(srvdb.FilterError, match=message):
            call()
    assert both.count() == 3


def test_a_batch_says_which_of_its_filters_is_refused(both):
    queries = [[1.0, 0.0]] * 3
    for bad in ({"year": {"$what": 1}}, {"year": math.nan}):
        with pytest.raises(srvdb.FilterError, match=r"where\[1\]: year"):
            both.search_batch(queries, where=[{"year": 2024}, bad, None])


def test_recommend_refuses_a_filter_in_the_callers_terms(both):
    with pytest.raises(srvdb.FilterError, match=r"^year\.\$what"):
        both.recommend(["a"], where={"year": {"$what": 1}})
    with pytest.raises(srvdb.FilterError):
        both.recommend(["a"], where='{"year": 2024}, {"year": 2025}')


def test_a_filter_in_the_place_of_ids_is_refused(both):
    for verb in (both.delete, both.soft_delete, both.restore, both.get_records):
        with pytest.raises(srvdb.InvalidInputError, match="got dict; a filter goes to where="):
            verb({"a": 2024})
    assert both.count() == 3


def test_names_of_fields_and_cursors_are_checked(both):
    for call in (
        lambda: both.scroll(after=3),
        lambda: both.facet("\ud800"),
        lambda: both.search([1.0, 0.0], group_by=""),
        lambda: both.search([1.0, 0.0], group_by="\ud800"),
        lambda: both.search([1.0, 0.0], group_by="$id"),
    ):
        with pytest.raises(srvdb.InvalidInputError):
            call()


def test_a_filter_error_is_a_value_error(both):
    with pytest.raises(ValueError, match=r"\$near"):
        both.count({"a": {"$near": 1}})


@pytest.mark.parametrize("mode", ["flat", "hnsw", "sq8", "auto"])
def test_hits_number_k_or_all_that_match(path, rng, mode):
    n = 4000
    rows = rng.standard_normal((n, 16)).astype(np.float32)
    with srvdb.open(path, mode=mode) as db:
        db.add_batch(map(str, range(n)), rows, [{"n": i, "group": i % 100} for i in range(n)])
        db.optimize()
        for where in ({"n": 17}, {"group": 3}, {"n": {"$lt": 5}}, {"n": {"$gte": 5}}, {"n": -1}):
            matches = db.count(where)
            for query in rng.standard_normal((5, 16)):
                assert len(db.search(query, 10, where=where)) == min(10, matches)


def grouped(rows, query, groups, k, size):
    """The ids that group_by must find, in cosine, by brute force."""
    scores = true_scores(rows, query, "cosine")
    counts, found = {}, []
    for i in np.argsort(-scores, kind="stable").tolist():
        group = groups[i]
        if group is None or (group not in counts and len(counts) == k):
            continue
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= size:
            found.append(str(i))
    return found


@pytest.mark.parametrize(("k", "size"), [(1, 1), (5, 1), (5, 3), (12, 2), (40, 1)])
def test_group_by_gives_the_best_of_each_group(path, kind, rng, k, size):
    n = 900
    rows = rng.standard_normal((n, 6)).astype(np.float32)
    # A few large groups near the query, many small ones, rows without a group and with an array.
    groups = [None if i % 7 == 0 else i % 3 if i < 600 else 100 + i % 40 for i in range(n)]
    metadatas = [
        {"doc": [1, 2]} if i % 14 == 0 else {} if groups[i] is None else {"doc": groups[i], "n": i}
        for i in range(n)
    ]
    with opened(kind, path) as db:
        db.add(list(map(str, range(n))), rows, metadatas)
        for query in rng.standard_normal((4, 6)):
            hits = db.search(query, k, group_by="doc", group_size=size, exact=True)
            assert hits.ids == grouped(rows, query, groups, k, size)
            some = [group if i < 700 else None for i, group in enumerate(groups)]
            hits = db.search(query, k, where={"n": {"$lt": 700}}, group_by="doc", group_size=size)
            assert hits.ids == grouped(rows, query, some, k, size)


def test_group_by_takes_the_name_of_a_field_and_a_size(both):
    assert both.search([1.0, 0.0], group_by="year").ids == ["a", "c", "b"]
    assert both.search([1.0, 0.0], group_by="nothing").ids == []
    hit = both.search([1.0, 0.0], 1, group_by="year", include=["metadata", "embedding"])[0]
    assert (hit.metadata, hit.embedding.tolist()) == ({"year": 2024}, [1.0, 0.0])
    for options in ({"group_by": ""}, {"group_by": 1}, {"group_by": "year", "group_size": 0}):
        with pytest.raises(srvdb.InvalidInputError, match="group_"):
            both.search([1.0, 0.0], **options)
    with pytest.raises(srvdb.FilterError, match=r"^a\.\$gt"):
        both.search([1.0, 0.0], where={"a": {"$gt": None}}, group_by="year")


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_batch_groups_the_rows_for_each_query(path, kind, rng, threads):
    n = 600
    rows = rng.standard_normal((n, 6)).astype(np.float32)
    groups = [None if i % 7 == 0 else i % 3 if i < 400 else 100 + i % 30 for i in range(n)]
    metadatas = [{"n": i} | ({} if g is None else {"doc": g}) for i, g in enumerate(groups)]
    queries = rng.standard_normal((9, 6)).astype(np.float32)
    with opened(kind, path) as db:
        db.add(list(map(str, range(n))), rows, metadatas)
        for k, size in ((3, 1), (8, 4)):
            grouped_by = {"group_by": "doc", "group_size": size, "threads": threads}
            found = db.search_batch(queries, k, **grouped_by, include="metadata")
            for query, hits in zip(queries, found, strict=True):
                assert hits.ids == grouped(rows, query, groups, k, size)
                assert hits == db.search(query, k, group_by="doc", group_size=size)
                assert all(hit.metadata["doc"] == groups[int(hit.id)] for hit in hits)
            wheres = [None if i % 3 == 0 else {"n": {"$lt": 100 * i}} for i in range(9)]
            found = db.search_batch(queries, k, where=wheres, **grouped_by)
            for i, (query, hits) in enumerate(zip(queries, found, strict=True)):
                end = n if i % 3 == 0 else 100 * i
                some = [group if row < end else None for row, group in enumerate(groups)]
                assert hits.ids == grouped(rows, query, some, k, size)
        assert db.search_batch(queries[:0], group_by="doc") == []


def test_no_queries_get_no_answers(both):
    for options in ({}, {"group_by": "year"}, {"where": {"year": 2024}}, {"where": []}):
        assert both.search_batch([], **options) == []
        assert both.search_batch(np.empty((0, 2)), **options) == []


def test_a_batch_of_groups_says_what_is_wrong(both):
    queries = [[1.0, 0.0]] * 3
    for bad in ({"year": {"$what": 1}}, {"year": math.nan}):
        with pytest.raises(srvdb.FilterError, match=r"where\[1\]: year"):
            both.search_batch(queries, where=[{"year": 2024}, bad, None], group_by="year")
    with pytest.raises(srvdb.FilterError, match="each of 3 queries; got 1"):
        both.search_batch(queries, where=[None], group_by="year")
    with pytest.raises(srvdb.InvalidInputError, match="group_by must be a field"):
        both.search_batch(queries, group_by="$id")
    with pytest.raises(srvdb.InvalidInputError, match=r"queries\[2\]: component 1"):
        both.search_batch([*queries[:2], [1.0, math.nan]], group_by="year")
    with pytest.raises(srvdb.DimensionError):
        both.search_batch([[1.0]], group_by="year")


def deep(times):
    where = {"year": {"$gte": 0}}
    for _ in range(times):
        where = {"$and": [where]}
    return where


@pytest.mark.parametrize(
    "where",
    [
        deep(32),
        {"$or": [{"year": year} for year in range(4999)]},
        {"year": {"$in": list(range(100_000))}},
        {"year": {"$ne": "x" * ((1 << 20) - len('{"year": {"$ne": ""}}'))}},
    ],
    ids=["deep", "conditions", "operands", "bytes"],
)
def test_a_filter_as_large_as_any_goes_with_groups_and_recommendations(both, where):
    assert both.count(where) == 3
    assert both.search([1.0, 0.0], where=where, group_by="year", group_size=2).ids == list("acb")
    assert both.recommend(["a"], where=where).ids == ["c", "b"]
    assert both.recommend(["a"], where=where, group_by="year", group_size=2).ids == ["c", "b"]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_recommend_searches_between_rows(path, kind, rng, metric):
    rows = rng.standard_normal((200, 5)).astype(np.float32) * rng.uniform(0.5, 2, (200, 1))
    rows = rows.astype(np.float32)
    with opened(kind, path, metric=metric) as db:
        db.add(list(map(str, range(200))), rows, [{"n": i} for i in range(200)])
        sides = [rows[[3, 4]].astype(np.float64), rows[[5]].astype(np.float64)]
        if metric == "cosine":
            sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
        near, far = (side.mean(axis=0) for side in sides)
        query = (2 * near - far).astype(np.float32)
        hits = db.recommend(["3", "4"], ["5"], 10, exact=True)
        others = {"$id": {"$nin": ["3", "4", "5"]}}
        assert hits == db.search(query, 10, where=others, exact=True)
        assert not {"3", "4", "5"} & set(hits.ids)
        hits = db.recommend(["3"], where={"n": {"$lt": 4}})
        assert sorted(hits.ids) == ["0", "1", "2"]
        # As many rows as one likes, more than a filter could name.
        hits = db.recommend(list(map(str, range(195))) * 600, ["195"], 10**12)
        assert sorted(hits.ids) == ["196", "197", "198", "199"]


@pytest.mark.parametrize(("k", "size"), [(1, 1), (4, 1), (4, 3), (50, 50)])
def test_recommend_groups_the_rows_that_are_not_named(path, kind, rng, k, size):
    rows = rng.standard_normal((200, 5)).astype(np.float32)
    named = ["3", "4", "5", "8"]  # 3 and 8 of one group, which they may lead
    with opened(kind, path) as db:
        db.add(list(map(str, range(200))), rows, [{"doc": i % 5} for i in range(200)])
        hits = db.recommend(named[:3], named[3:], k, group_by="doc", group_size=size)
        units = rows.astype(np.float64)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        query = (2 * units[[3, 4, 5]].mean(axis=0) - units[8]).astype(np.float32)
        groups = [None if str(i) in named else i % 5 for i in range(200)]
        assert hits.ids == grouped(rows, query, groups, k, size)


def test_recommend_names_what_it_does_not_find(both):
    both.soft_delete(["c"])
    with pytest.raises(srvdb.NotFoundError, match="2 ids not found: 'x', 'c'") as caught:
        both.recommend(["a", "x"], ["c"])
    assert caught.value.ids == ("x", "c")
    with pytest.raises(srvdb.InvalidInputError, match="at least one id"):
        both.recommend([])
    with pytest.raises(srvdb.InvalidInputError, match="got one str"):
        both.recommend("a")


def test_explain_says_what_is_read(path, kind, rng):
    n = 2000
    with opened(kind, path, background=False) as db:
        db.add(
            list(map(str, range(n))),
            rng.standard_normal((n, 4)),
            [{"n": i, "parity": i % 2} for i in range(n)],
        )
        where = {"parity": 1, "n": {"$lt": 1000}}
        pending = db.explain(where)
        assert (pending.path, pending.exact, pending.rows) == ("documents", False, n)
        assert pending.matching == pytest.approx(500, abs=150)
        db.persist()
        stored = db.explain(where)
        assert (stored.path, stored.exact, stored.documents) == ("columns", True, 0)
        assert (stored.matching, stored.selectivity, stored.cached) == (500, 0.25, False)
        assert stored.fields == {"n": True, "parity": True}
        assert db.count(where) == 500
        assert db.explain(where).cached
        db.update(where={"n": 7}, metadata={"n": -1})
        changed = db.explain(where)
        assert (changed.path, changed.documents) == ("columns, then documents", 1)
        assert db.explain({}).matching == n
        with pytest.raises(srvdb.FilterError):
            db.explain({"a": {"$what": 1}})


def test_answers_are_kept_within_the_bytes_that_are_set(path, rng):
    ids = list(map(str, range(5000)))
    with srvdb.open(path, filter_cache=100_000) as db:
        db.add(ids, rng.standard_normal((5000, 4)), [{"n": i} for i in range(5000)])
        for n in range(50):
            assert db.count({"n": {"$lt": n}}) == n
            assert db.count({"n": {"$lt": n}}) == n
            assert 0 < db.stats()["memory"]["filters"] <= 100_000
    with srvdb.open(path, filter_cache=0) as db:
        assert db.count({"n": {"$lt": 7}}) == 7
        assert db.stats()["memory"]["filters"] == 0


def test_a_reader_filters_what_it_shows(path):
    with srvdb.open(path) as writer:
        writer.add(["a", "b"], np.eye(2), [{"n": 1}, {"n": 2}])
        writer.persist()
        with srvdb.open(path, read_only=True) as reader:
            assert reader.count({"n": {"$gt": 1}}) == 1
            with pytest.raises(srvdb.ReadOnlyError):
                reader.delete(where={"n": 1})


def test_recall_by_name_holds_where_a_filter_leaves_out_what_surrounds_the_query(path, rng):
    n, near = 20_000, 6000
    rows = rng.standard_normal((n, 16)).astype(np.float32)
    rows[:near] += 3
    groups = [0 if i < near else 1 + i % 500 for i in range(n)]
    with srvdb.open(path, mode="hnsw") as db:
        db.add_batch(map(str, range(n)), rows, [{"group": group} for group in groups])
        db.optimize()
        queries, where = rows[:50], {"group": {"$ne": 0}}
        found = db.search_batch(queries, 10, where=where, recall=0.95)
        exact = db.search_batch(queries, 10, where=where, exact=True)
        shares = [len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(found, exact, strict=True)]
        assert np.mean(shares) >= 0.95
