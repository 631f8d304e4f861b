"""Filters on real attributes, against the exact answers that come with the sets.

Each set has a `filters.json`: conditions on one attribute of its rows, from 67 to 0.1 % of them,
clustered or not, and the nearest matching rows to its first queries.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from helpers import data_folder, load_set, opened, rows_and_queries

SETS = {
    "mnist-784-euclidean-2k": "l2",
    "notes-ml-384-angular": "cosine",
    "sift-photos-80k": "l2",
}
OPERATORS = {"==": "$eq", ">=": "$gte", "<": "$lt", "in": "$in"}
HOLDS = {"==": np.equal, ">=": np.greater_equal, "<": np.less, "in": np.isin}
K = 10
QUERIES = 200  # that there are answers to


@dataclass
class Filter:
    """A condition, the rows that it holds for, and the nearest of these to each query."""

    name: str
    field: str
    where: dict[str, Any]
    holds: np.ndarray
    rows: np.ndarray
    distances: np.ndarray


class Given:
    """A set in a database: its rows' ids are their numbers, in the same order."""

    def __init__(self, name: str, kind: str) -> None:
        arrays = load_set(name)
        file = data_folder() / name / "filters.json"
        if not file.is_file():
            pytest.skip(f"the vector set {name} has no filters.json")
        self.kind, self.metric = kind, SETS[name]
        self.rows, queries = rows_and_queries(name)
        self.queries = queries[:QUERIES]
        self.attributes = {key[5:]: value for key, value in arrays.items() if key[:5] == "attr_"}
        attributes = self.attributes
        columns = zip(*(column.tolist() for column in attributes.values()), strict=True)
        self.metadatas = [dict(zip(attributes, row, strict=True)) for row in columns]
        self.ids = [f"{i:05}" for i in range(len(self.rows))]
        self.filters = []
        for entry in json.loads(file.read_text())["filters"]:
            field, operator, value = entry["field"], entry["op"], entry["value"]
            answer = entry["gt_row"]
            # In double precision, as JSON's numbers are, and not in that of the attribute.
            holds = HOLDS[operator](attributes[field].astype(np.float64), value)
            assert holds.sum() == entry["matching"]
            self.filters.append(
                Filter(
                    entry["name"],
                    field,
                    {field: {OPERATORS[operator]: value}},
                    holds,
                    arrays["filter_gt"][answer],
                    arrays["filter_gt_dist"][answer].astype(np.float64),
                )
            )

    def fill(self, path, mode: str):
        """A new database of the set."""
        db = opened(self.kind, path, metric=self.metric, mode=mode)
        db.add_batch(self.ids, self.rows, self.metadatas)
        return db

    def ids_where(self, holds: np.ndarray) -> list[str]:
        return [self.ids[row] for row in np.flatnonzero(holds)]

    def distances(self, hits) -> np.ndarray:
        """As the set has them: srvdb's l2 is squared."""
        found = np.array([hit.distance for hit in hits])
        return np.sqrt(found) if self.metric == "l2" else found


@pytest.fixture(
    scope="module",
    params=[*((name, "one") for name in SETS), ("notes-ml-384-angular", "sharded")],
    ids=" ".join,
)
def given(request):
    return Given(*request.param)


@pytest.fixture(scope="module")
def db(given, tmp_path_factory):
    """The set, linked into a graph, as it is opened from disk."""
    path = tmp_path_factory.mktemp("set") / "db"
    with given.fill(path, "hnsw") as new:
        new.optimize()
    with opened(given.kind, path) as database:
        yield database


def is_nearest(given: Given, hits, rows: np.ndarray, distances: np.ndarray) -> bool:
    """Whether hits are the nearest of the rows, whichever of equally near ones came last."""
    if not np.allclose(given.distances(hits), distances[: len(hits)], rtol=1e-5, atol=1e-6):
        return False
    farthest = distances[len(hits) - 1] * (1 + 1e-6)
    return {int(id) for id in hits.ids} <= set(rows[distances <= farthest].tolist())


def test_the_rows_of_each_filter_are_counted_and_listed(given, db):
    for one in given.filters:
        wanted = given.ids_where(one.holds)
        assert db.count(one.where) == len(wanted), one.name
        found, after = [], None
        while page := db.scroll(where=one.where, limit=10_000, after=after):
            found += page
            after = page[-1].id
        assert [record.id for record in found] == wanted, one.name
        assert found == db.get_records(where=one.where), one.name
        assert [r.metadata for r in found] == [given.metadatas[int(id)] for id in wanted], one.name
        explained = db.explain(one.where)
        assert (explained.path, explained.matching) == ("columns", len(wanted)), one.name


def test_facets_within_each_filter_are_the_counts_of_its_rows(given, db):
    for one in given.filters:
        for field, values in given.attributes.items():
            facet = db.facet(field, one.where, limit=None)
            assert dict(facet) == Counter(values[one.holds].tolist()), (one.name, field)
            assert [count for _, count in facet] == sorted((n for _, n in facet), reverse=True)


def test_exact_searches_give_the_exact_answers(given, db):
    for one in given.filters:
        n = min(K, one.holds.sum())
        answers = db.search_batch(given.queries, K, where=one.where, exact=True)
        for number, hits in enumerate(answers):
            assert len(hits) == n, (one.name, number)
            near = one.rows[number], one.distances[number]
            assert is_nearest(given, hits, *near), (one.name, number)
            if number % 20 == 0:
                single = db.search(given.queries[number], K, where=one.where, exact=True)
                assert single == hits, (one.name, number)


def test_searches_over_the_graph_find_matches_alone_and_k_of_them(given, db):
    for one in given.filters:
        n = min(K, one.holds.sum())
        for options in ({"recall": 0.95}, {"ef": K}, {}):
            answers = db.search_batch(given.queries, K, where=one.where, **options)
            for hits in answers:
                assert len(set(hits.ids)) == len(hits) == n, (one.name, options)
                assert all(one.holds[int(id)] for id in hits.ids), (one.name, options)
            for query, hits in zip(given.queries[::50], answers[::50], strict=True):
                assert db.search(query, K, where=one.where, **options) == hits, (one.name, options)


def test_a_recall_that_is_asked_for_is_reached_within_each_filter(given, db):
    for one in given.filters:
        n = min(K, one.holds.sum())
        answers = db.search_batch(given.queries, K, where=one.where, recall=0.95)
        found = [
            (given.distances(hits) <= distances[n - 1] * (1 + 1e-6)).mean()
            for hits, distances in zip(answers, one.distances, strict=True)
        ]
        assert np.mean(found) >= 0.95, one.name


def test_a_filter_for_each_query_gives_what_each_gives_alone(given, db):
    queries = given.queries[: 3 * len(given.filters)]
    wheres = [given.filters[i % len(given.filters)].where for i in range(len(queries))]
    together = db.search_batch(queries, K, where=wheres, recall=0.95, threads=2)
    for query, where, hits in zip(queries, wheres, together, strict=True):
        assert db.search(query, K, where=where, recall=0.95) == hits


def test_answers_follow_what_is_deleted_and_changed_by_filter(tmp_path):
    given = Given("notes-ml-384-angular", "one")
    first, second, *rest = given.filters
    with given.fill(tmp_path / "db", "flat") as db:
        assert db.soft_delete(where=first.where) == first.holds.sum()
        left = ~first.holds
        changed = second.holds & left
        assert db.update(where=second.where, metadata={"moved": True}) == changed.sum()
        assert db.count({"moved": True}) == changed.sum()
        left &= ~changed
        for one in rest:
            assert db.count(one.where) == (one.holds & left).sum(), one.name
            for number in range(0, QUERIES, 10):
                stay = one.rows[number] >= 0
                stay &= left[one.rows[number]]
                if stay.sum() < K and one.holds.sum() > one.rows.shape[1]:
                    continue  # more of them lie beyond the answers that the set has
                hits = db.search(given.queries[number], K, where=one.where)
                near = one.rows[number][stay], one.distances[number][stay]
                assert len(hits) == min(K, stay.sum()), (one.name, number)
                assert is_nearest(given, hits, *near), (one.name, number)
