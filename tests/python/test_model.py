"""Any sequence of operations gives what a dictionary and brute force give."""

import json
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import srvdb
from helpers import METRICS, true_scores

DIMENSION = 3
IDS = st.sampled_from(["a", "b", "c", "d", "é", "id with space", "z" * 511, "0", "00"])
VECTORS = st.lists(
    st.floats(-100, 100, width=32, allow_subnormal=False), min_size=DIMENSION, max_size=DIMENSION
)
METADATA = st.none() | st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2)
ROWS = st.lists(st.tuples(IDS, VECTORS, METADATA), min_size=1, max_size=8)


class Model(RuleBasedStateMachine):
    """A database beside a dictionary of what it must hold."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="srvdb-model-"))
        self.expected = {}
        self.db = None

    @initialize(
        metric=st.sampled_from(METRICS),
        mode=st.sampled_from(["flat", "sq8", "hnsw", "auto"]),
        threshold=st.sampled_from([1, 3, 1000]),
    )
    def create(self, metric, mode, threshold):
        self.metric, self.threshold = metric, threshold
        self.db = srvdb.open(
            self.folder / "db", metric=metric, mode=mode, auto_flush_threshold=threshold
        )

    def teardown(self):
        if self.db is not None:
            self.db.close()
        shutil.rmtree(self.folder)

    @rule(rows=ROWS)
    def add(self, rows):
        ids, vectors, metadatas = zip(*rows, strict=True)
        taken = len(set(ids)) < len(ids) or any(id in self.expected for id in ids)
        try:
            assert self.db.add(ids, vectors, metadatas) == len(ids)
            assert not taken
        except srvdb.DuplicateIdError:
            assert taken
            return
        self.remember(rows)

    @rule(rows=ROWS)
    def upsert(self, rows):
        ids, vectors, metadatas = zip(*rows, strict=True)
        self.db.upsert(ids, np.array(vectors), metadatas)
        self.remember(rows)

    def remember(self, rows):
        for id, vector, metadata in rows:
            self.expected[id] = (np.array(vector, dtype=np.float32), metadata or {})

    @rule(ids=st.lists(IDS, max_size=5))
    def delete(self, ids):
        gone = {id for id in ids if self.expected.pop(id, None) is not None}
        assert self.db.delete(ids) == len(gone)

    @rule(close=st.booleans())
    def reopen(self, close):
        if close:
            self.db.close()
        self.db = None  # without close() the last reference closes
        self.db = srvdb.open(self.folder / "db", auto_flush_threshold=self.threshold)

    @rule()
    def persist(self):
        self.db.persist()

    @rule()
    def optimize(self):
        self.db.optimize(threads=1)

    @rule(query=VECTORS, k=st.integers(1, 12), exact=st.booleans())
    def search(self, query, k, exact):
        query = np.array(query, dtype=np.float32)
        hits = self.db.search(query, k, exact=exact)
        ids = sorted(self.expected)
        assert len(hits) == min(k, len(ids))
        if not ids:
            return
        rows = np.array([self.expected[id][0] for id in ids])
        scores = dict(zip(ids, true_scores(rows, query, self.metric), strict=True))
        for hit in hits:
            assert np.isclose(hit.score, scores[hit.id], rtol=1e-5, atol=1e-5)
        assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.id))
        best = sorted(scores.values(), reverse=True)[: len(hits)]
        if exact:
            assert np.allclose(hits.scores, best, rtol=1e-5, atol=1e-5)
        assert self.db.search_batch([query], k, exact=exact)[0].scores.tolist() == (
            hits.scores.tolist()
        )

    @invariant()
    def it_holds_what_the_model_holds(self):
        if self.db is None:
            return
        assert len(self.db) == len(self.expected)
        assert list(self.db) == sorted(self.expected)
        records = self.db.get_records(sorted(self.expected), include=("metadata", "embedding"))
        for record in records:
            vector, metadata = self.expected[record.id]
            assert np.array_equal(record.embedding, vector)
            assert record.metadata == metadata
            assert json.loads(self.db.get(record.id)) == metadata


def test_any_sequence_of_operations_matches_the_model():
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
