"""The dictionary that a database must agree with, and the steps that are tried on both."""

import copy

import hypothesis.strategies as st
import numpy as np

from filter_reference import matches
from helpers import true_scores

DIMENSION = 3
START_MS = 1_900_000_000_000
_ID_LIST = ["a", "b", "c", "d", "é", "id with space", "z" * 511, "0", "00"]

IDS = st.sampled_from(_ID_LIST)
VECTORS = st.lists(
    st.floats(-100, 100, width=32, allow_subnormal=False), min_size=DIMENSION, max_size=DIMENSION
)
_KEYS = st.sampled_from(["n", "m"])
METADATA = st.dictionaries(_KEYS | st.text(max_size=3), st.integers(-9, 9), max_size=2)
#: Seconds from now: some that have passed at once, some that will soon.
LIVES = st.none() | st.sampled_from([0, 1, 2, 10])
NAMES = st.sampled_from(["s1", "s2"])
ROWS = st.lists(st.tuples(IDS, VECTORS, st.none() | METADATA, LIVES), min_size=1, max_size=8)
_CHANGES = st.tuples(
    IDS, st.none() | VECTORS, st.none() | METADATA, st.none() | st.just(-1) | LIVES
)
UPDATES = st.lists(
    _CHANGES.filter(lambda change: change[1:] != (None, None, None)), min_size=1, max_size=4
)
ID_LISTS = st.lists(IDS, max_size=5)
_NUMBERS = st.integers(-9, 9)
_CONDITIONS = st.one_of(
    _NUMBERS,
    st.builds(lambda operator, n: {operator: n}, st.sampled_from(["$gte", "$lt", "$ne"]), _NUMBERS),
    st.builds(lambda there: {"$exists": there}, st.booleans()),
)
FILTERS = st.one_of(
    st.dictionaries(_KEYS, _CONDITIONS, min_size=1, max_size=2),
    st.builds(lambda key, n: {"$not": {key: n}}, _KEYS, _CONDITIONS),
    st.builds(lambda id: {"$id": {"$prefix": id[:1]}}, IDS),
)

#: Steps by verb: the arguments that follow it. Lives are turned into moments when a step is made.
STEPS = {
    "add": st.tuples(ROWS),
    "upsert": st.tuples(ROWS),
    "update": UPDATES.map(lambda updates: updates[0]),
    "batch_update": st.tuples(UPDATES),
    "soft_delete": st.tuples(ID_LISTS),
    "restore": st.tuples(ID_LISTS),
    "delete": st.tuples(ID_LISTS),
    "delete where": st.tuples(FILTERS),
    "soft_delete where": st.tuples(FILTERS),
    "update where": st.tuples(
        FILTERS, st.none() | METADATA, st.none() | st.just(-1) | LIVES
    ).filter(lambda change: change[1:] != (None, None)),
    "compact": st.tuples(),
    "persist": st.tuples(),
    "optimize": st.tuples(),
    "create_snapshot": st.tuples(NAMES),
    "restore_snapshot": st.tuples(NAMES, st.booleans()),
    "drop_snapshot": st.tuples(NAMES),
}


def any_step(verbs):
    """A strategy for one step of any of the verbs."""
    return st.one_of(*(st.tuples(st.just(verb), STEPS[verb]) for verb in verbs))


class RefusedError(Exception):
    """What a database must refuse; the name of its exception."""


class Expected:
    """What a database must hold. Moments are milliseconds since 1970, 0 for never."""

    def __init__(self):
        self.now = START_MS
        self.rows = {}  # id -> [vector, metadata, expiry, soft-deleted]
        self.log = []  # [operation, ids in order]
        self.snapshots = {}  # name -> rows

    def copy(self):
        return copy.deepcopy(self)

    def step(self, verb, arguments):
        """A step as it is applied and sent: lives turned into moments."""
        if verb in ("add", "upsert"):
            rows = [
                [id, vector, text, self.moment(life)] for id, vector, text, life in arguments[0]
            ]
            return [verb, rows]
        if verb == "update":
            return [verb, *arguments[:3], self.moment(arguments[3])]
        if verb == "update where":
            return [verb, *arguments[:2], self.moment(arguments[2])]
        if verb == "batch_update":
            return [verb, [[*change[:3], self.moment(change[3])] for change in arguments[0]]]
        return [verb, *arguments]

    def moment(self, life):
        if life is None:
            return None
        return 0 if life < 0 else self.now + 1000 * life

    def forward(self, seconds):
        self.now += 1000 * seconds
        self.purge()

    def purge(self):
        """Drop what has expired."""
        self.rows = self.still_there(self.rows)

    def still_there(self, rows):
        return {id: row for id, row in rows.items() if not row[2] or row[2] > self.now}

    def live(self):
        return {id: row for id, row in self.rows.items() if not row[3]}

    def apply(self, step):
        """Do it; returns what the database's method must return. Raises RefusedError."""
        verb, *arguments = step
        before = copy.deepcopy(self.rows)
        try:
            result = getattr(self, verb.replace(" ", "_"))(*arguments)
        except RefusedError:
            self.rows = before
            raise
        self.purge()
        return result

    # ---- the verbs -------------------------------------------------------------------------------

    def add(self, rows):
        ids = [row[0] for row in rows]
        if len(set(ids)) < len(ids) or any(id in self.rows for id in ids):
            raise RefusedError("DuplicateIdError")
        self.put("add", rows)
        return len(rows)

    def upsert(self, rows):
        self.put("upsert", rows)
        return len(rows)

    def put(self, operation, rows):
        for id, vector, metadata, ms in rows:
            self.rows[id] = [vector, metadata or {}, ms or 0, False]
        self.log.append([operation, sorted({row[0] for row in rows})])

    def update(self, *change):
        return self.batch_update([change])

    def batch_update(self, changes):
        ids = [change[0] for change in changes]
        if len(set(ids)) < len(ids):
            raise RefusedError("InvalidInputError")
        live = self.live()
        if not set(ids) <= set(live):
            raise RefusedError("NotFoundError")
        for id, vector, metadata, ms in changes:
            row = self.rows[id]
            if vector is not None:
                row[0] = vector
            if metadata is not None:
                row[1] = metadata
            if ms is not None:
                row[2] = ms
        self.log.append(["update", sorted(ids)])
        return len(ids)

    def soft_delete(self, ids):
        return self.mark("soft_delete", ids, True)

    def restore(self, ids):
        return self.mark("restore", ids, False)

    def mark(self, operation, ids, deleted):
        changed = {id for id in ids if id in self.rows and self.rows[id][3] != deleted}
        for id in changed:
            self.rows[id][3] = deleted
        return self.logged(operation, changed)

    def delete(self, ids):
        gone = {id for id in ids if self.rows.pop(id, None) is not None}
        return self.logged("delete", gone)

    def matching(self, where):
        return [id for id, row in self.live().items() if matches(where, id, row[1])]

    def delete_where(self, where):
        return self.delete(self.matching(where))

    def soft_delete_where(self, where):
        return self.soft_delete(self.matching(where))

    def update_where(self, where, metadata, ms):
        ids = self.matching(where)
        return self.batch_update([(id, None, metadata, ms) for id in ids]) if ids else 0

    def logged(self, operation, ids):
        if ids:
            self.log.append([operation, sorted(ids)])
        return len(ids)

    def compact(self):
        pass

    persist = optimize = compact

    def create_snapshot(self, name):
        if name in self.snapshots:
            raise RefusedError("DuplicateIdError")
        self.snapshots[name] = copy.deepcopy(self.rows)

    def restore_snapshot(self, name, keep_current):
        if name not in self.snapshots:
            raise RefusedError("NotFoundError")
        self.rows = copy.deepcopy(self.snapshots[name])

    def drop_snapshot(self, name):
        if name not in self.snapshots:
            raise RefusedError("NotFoundError")
        del self.snapshots[name]

    # ---- searching -------------------------------------------------------------------------------

    def scores(self, query, metric, include_deleted):
        """Score of each row that a search may return, by brute force in double precision."""
        rows = self.rows if include_deleted else self.live()
        if not rows:
            return {}
        matrix = np.array([row[0] for row in rows.values()], dtype=np.float32)
        scores = true_scores(matrix, np.array(query, dtype=np.float32), metric)
        return dict(zip(rows, scores, strict=True))
