"""Filters over more rows than one block of an index over metadata holds, against the reference.

Many rows share few documents, so that the reference answers for each document once. The long form:
``SRVDB_FILTER_SECONDS=600 SRVDB_FILTER_SEED=7 pytest -s test_filter_blocks.py``.
"""

import json
import os
import time
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest

import filter_reference as reference
import srvdb
from filter_hypothesis import hold
from filter_strategies import PATHS, documents, filters
from helpers import true_scores

BLOCK = 16_384
DIMENSION = 4
K = 10

done: Counter[str] = Counter()

POOL = st.lists(documents, min_size=3, max_size=40)
FILTERS = st.lists(filters, min_size=4, max_size=10)
FIELDS = st.lists(st.sampled_from(PATHS), min_size=1, max_size=3)
ROWS = st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 700, 2 * BLOCK + 5])
_step = st.sampled_from(
    ["update", "update_where", "delete", "delete_where", "soft_delete", "restore", "upsert"]
)
STEPS = st.lists(
    st.one_of(_step, st.sampled_from(["persist", "compact", "reopen"])), min_size=1, max_size=6
)
SEEDS = st.integers(0, 2**20)


class Blocks:
    """A database beside arrays: the document of each row, whether it is there, and hidden."""

    def __init__(self, folder: str, pool: list[str], wheres: list[Any], n: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.folder = folder
        self.pool = pool
        self.read = [json.loads(text) for text in pool]
        self.wheres = wheres
        self.n = n
        self.ids = [f"{i:06}" for i in range(n)]
        self.vectors = self.random.integers(-50, 51, (n, DIMENSION)).astype(np.float32)
        # Neighbours in the order of rows share a document often, as rows of one source do.
        runs = self.random.integers(0, len(pool), n // 50 + 1)
        self.document = np.where(
            self.random.random(n) < 0.5,
            np.repeat(runs, 50)[:n],
            self.random.integers(0, len(pool), n),
        )
        self.there = np.ones(n, bool)
        self.hidden = np.zeros(n, bool)
        self.db = self.open()
        self.write(np.arange(n))

    def open(self) -> srvdb.Database:
        return srvdb.open(self.folder, metric="l2", mode="flat", auto_flush_threshold=5000)

    def write(self, rows: np.ndarray) -> None:
        ids = [self.ids[row] for row in rows]
        texts = [self.pool[self.document[row]] for row in rows]
        self.db.upsert(ids, self.vectors[rows], texts)

    # ---- steps -----------------------------------------------------------------------------------

    def some(self) -> np.ndarray:
        """A few rows, or all of a stretch."""
        if self.random.random() < 0.5:
            return np.unique(self.random.integers(0, self.n, self.random.integers(1, 50)))
        begin = int(self.random.integers(0, self.n))
        return np.arange(begin, min(self.n, begin + int(self.random.integers(1, 5000))))

    def named(self, rows: np.ndarray) -> list[str]:
        return [self.ids[row] for row in rows]

    def take(self, step: str) -> None:
        done["steps"] += 1
        rows = self.some()
        number = int(self.random.integers(0, len(self.pool)))
        where = self.wheres[int(self.random.integers(0, len(self.wheres)))]
        if step == "update":
            rows = rows[(self.there & ~self.hidden)[rows]][:200]
            updates = [{"id": self.ids[row], "metadata": self.pool[number]} for row in rows]
            if updates:
                self.db.batch_update(updates)
            self.document[rows] = number
        elif step == "update_where":
            found = self.matching(where)
            assert self.db.update(where=where, metadata=self.pool[number]) == found.sum(), where
            self.document[found] = number
        elif step == "delete":
            self.db.delete(self.named(rows))
            self.there[rows] = False
        elif step == "delete_where":
            found = self.matching(where)
            assert self.db.delete(where=where) == found.sum(), where
            self.there &= ~found
        elif step == "soft_delete":
            self.db.soft_delete(self.named(rows))
            self.hidden[rows] = self.there[rows]
        elif step == "restore":
            self.db.restore(self.named(rows))
            self.hidden[rows] = False
        elif step == "upsert":
            self.document[rows] = self.random.integers(0, len(self.pool), len(rows))
            self.write(rows)
            self.there[rows], self.hidden[rows] = True, False
        elif step == "reopen":
            self.db.close()
            self.db = self.open()
        else:
            getattr(self.db, step)()
        self.hidden &= self.there

    # ---- what must hold --------------------------------------------------------------------------

    def matching(self, where: dict[str, Any]) -> np.ndarray:
        """True for the rows that match."""
        if "$id" in json.dumps(where):
            held = np.array(
                [
                    reference.matches(where, id, self.read[number])
                    for id, number in zip(self.ids, self.document, strict=True)
                ]
            )
        else:
            of_document = [reference.matches(where, "", document) for document in self.read]
            held = np.array(of_document)[self.document]
        return held & self.there & ~self.hidden

    def check(self, where: dict[str, Any]) -> None:
        done["filters"] += 1
        done["cases"] += self.n
        found = self.matching(where)
        rows = np.flatnonzero(found)
        assert self.db.count(where) == len(rows), where
        got = [record.id for record in self.db.scroll(where=where, limit=10_000)]
        assert got == self.named(rows[:10_000]), where
        query = self.random.integers(-50, 51, DIMENSION).astype(np.float32)
        hits = self.db.search(query, K, where=where)
        best = np.sort(true_scores(self.vectors[rows], query, "l2"))[::-1][:K]
        assert [hit.score for hit in hits] == best.tolist(), where
        assert all(found[int(hit.id)] for hit in hits), where

    def check_facet(self, field: str, where: dict[str, Any]) -> None:
        found = self.matching(where)
        times = np.bincount(self.document[found], minlength=len(self.pool))
        wanted: Counter[tuple[str, Any]] = Counter()
        for document, count in zip(self.read, times, strict=True):
            for value in reference.facet(field, [document]):
                wanted[value] += int(count)
        facet = self.db.facet(field, where, limit=None)
        got = {(reference.kind_of(value), value): count for value, count in facet}
        assert got == {value: count for value, count in wanted.items() if count}, (field, where)
        assert len(got) == len(facet)


@pytest.fixture(scope="module")
def promise(tmp_path_factory):
    """A function of what Hypothesis draws that checks all of it in a folder of its own."""

    def agree(
        pool: list[str],
        wheres: list[dict[str, Any]],
        fields: list[str],
        n: int,
        steps: list[str],
        seed: int,
    ) -> None:
        folder = tmp_path_factory.mktemp("blocks") / "db"
        blocks = Blocks(str(folder), pool, wheres, n, seed)
        try:
            for step in ["persist", *steps]:
                blocks.take(step)
                for where in wheres:
                    blocks.check(where)
                for field in fields:
                    blocks.check_facet(field, wheres[0])
                    blocks.check_facet(field, {})
            blocks.db.persist()
            assert not blocks.db.verify(deep=True).problems
        finally:
            blocks.db.close()

    return agree


def test_filters_over_many_blocks_find_what_the_reference_finds(promise):
    hold(promise, POOL, FILTERS, FIELDS, ROWS, STEPS, SEEDS, examples=4, shrink=False)


@pytest.mark.skipif("SRVDB_FILTER_SECONDS" not in os.environ, reason="the long form is for soaks")
def test_seed_after_seed_filters_over_many_blocks_agree(promise):
    number = int(os.environ.get("SRVDB_FILTER_SEED", time.time_ns() % 10**9))
    end = time.monotonic() + float(os.environ["SRVDB_FILTER_SECONDS"])
    while time.monotonic() < end:
        print(f"filters over blocks: seed {number}", flush=True)
        hold(
            promise,
            POOL,
            FILTERS,
            FIELDS,
            ROWS,
            STEPS,
            SEEDS,
            examples=10,
            number=number,
            shrink=False,
        )
        number += 1
    print("filters:", ", ".join(f"{count:,} {what}" for what, count in sorted(done.items())))
