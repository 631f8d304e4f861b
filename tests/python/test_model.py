"""Any sequence of operations gives what a dictionary and brute force give.

The long form, for a soak: ``SRVDB_MODEL_SECONDS=600 SRVDB_MODEL_SEED=7 pytest -s test_model.py``
tries one seed after the other until the time is up, and says what it did. A seed that failed is
replayed by ``SRVDB_MODEL_SEED`` with one second.
"""

import collections
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky, FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import srvdb
from filter_reference import matches
from helpers import METRICS
from model import FILTERS, NAMES, STEPS, VECTORS, Expected, RefusedError, any_step
from model_process import Helper, apply, change_log, contents, set_clock

#: Verbs that come with later parts of this version; their rules run once the method is there.
MISSING = [
    verb for verb in (*STEPS, "backup", "refresh") if not hasattr(srvdb.Database, verb.split()[0])
]
VERBS = [verb for verb in STEPS if verb not in MISSING]
_KEEPING = (
    "compact",
    "persist",
    "optimize",
    "create_snapshot",
    "restore_snapshot",
    "drop_snapshot",
)

done = collections.Counter()


def has(*verbs):
    return precondition(lambda self: not set(verbs) & set(MISSING))


def fast_folder():
    """A folder in memory where there is one: the steps are many, the disk is tested elsewhere."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None


class Model(RuleBasedStateMachine):
    """A database beside a dictionary of what it must hold."""

    killer: Helper
    reader: Helper
    failure = ""  # the first one, with what was done before it

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="srvdb-model-", dir=fast_folder()))
        self.path = str(self.folder / "db")
        self.expected = Expected()
        self.db = None
        self.pinned = None  # what the reader shows until it is refreshed
        self.copies = 0
        self.story = []
        set_clock(self.expected.now)

    @initialize(
        metric=st.sampled_from(METRICS),
        mode=st.sampled_from(["flat", "sq8", "hnsw", "auto"]),
        threshold=st.sampled_from([1, 3, 1000]),
        durability=st.sampled_from(["os", "disk"]),
        auto_compact=st.sampled_from([False, {"share": 0.3, "bytes": 1}]),
    )
    def create(self, metric, mode, threshold, durability, auto_compact):
        self.metric = metric
        self.options = {
            "auto_flush_threshold": threshold,
            "durability": durability,
            "auto_compact": auto_compact,
        }
        self.db = srvdb.open(self.path, metric=metric, mode=mode, **self.options)
        self.story.append(f"open {metric} {mode} {self.options}")
        done["databases"] += 1

    def teardown(self):
        if isinstance(sys.exc_info()[1], Exception) and not Model.failure:
            Model.failure = "\n".join([*self.story, traceback.format_exc()])
        if self.pinned is not None:
            self.reader.ask(trade="forget")
        if self.db is not None:
            self.db.close()
        set_clock(None)
        shutil.rmtree(self.folder)

    # ---- steps -----------------------------------------------------------------------------------

    # Several rules, as each is as likely as any other rule.

    @rule(step=any_step(["add", "upsert"]))
    def write(self, step):
        self.check(self.expected.step(*step))

    @rule(step=any_step([verb for verb in VERBS if verb not in _KEEPING]))
    def change(self, step):
        self.check(self.expected.step(*step))

    @rule(step=any_step(["update", "batch_update", "soft_delete", "restore", "delete"]))
    def change_again(self, step):
        self.check(self.expected.step(*step))

    @rule(step=any_step([verb for verb in VERBS if verb.endswith(" where")]))
    def change_by_filter(self, step):
        self.check(self.expected.step(*step))

    @rule(step=any_step([verb for verb in VERBS if verb in _KEEPING]))
    def keep(self, step):
        self.check(self.expected.step(*step))

    def check(self, step):
        """Apply a step to both and compare what comes of it."""
        self.story.append(str(step))
        done["steps"] += 1
        missing = ()
        try:
            wanted = ["ok", self.expected.apply(step)]
        except RefusedError as refused:
            wanted = ["error", str(refused)]
        try:
            got = ["ok", apply(self.db, step)]
        except srvdb.SrvDBError as error:
            got = ["error", type(error).__name__]
            missing = getattr(error, "ids", ())
        assert got == wanted, f"{step}: {got}, expected {wanted}"
        if wanted == ["error", "NotFoundError"] and step[0].endswith("update"):
            ids = [step[1]] if step[0] == "update" else [change[0] for change in step[1]]
            live = self.expected.live()
            assert list(missing) == [id for id in ids if id not in live]

    @rule(seconds=st.sampled_from([1, 2, 20]))
    def time_passes(self, seconds):
        self.story.append(f"{seconds} s later")
        self.expected.forward(seconds)
        set_clock(self.expected.now)

    @rule(choice=st.integers(0, 30))
    def trim_change_log(self, choice):
        log = self.db.change_log(limit=None)
        if not log:
            return
        choice %= len(log)
        self.story.append(f"trim {log[choice].sequence}")
        assert self.db.trim_change_log(log[choice].sequence) == choice
        if choice:
            rest = change_log(self.db)[:-1]
            assert self.expected.log[len(self.expected.log) - len(rest) :] == rest
            self.expected.log = [*rest, ["trim_change_log", []]]

    # ---- lives and deaths ------------------------------------------------------------------------

    @rule(close=st.booleans())
    def reopen(self, close):
        self.story.append("reopen")
        if close:
            self.db.close()
        self.db = None  # without close() the last reference closes
        self.db = srvdb.open(self.path, **self.options)
        done["reopened"] += 1

    @rule(
        steps=st.lists(any_step(VERBS), min_size=1, max_size=5),
        kill_after=st.integers(0, 4),
        delay=st.sampled_from([0.0, 0.0002, 0.001, 0.003]),
    )
    def kill(self, steps, kill_after, delay):
        """A process that changes the database is killed: what it had acknowledged is there, what
        it was about to do is there wholly or not at all."""
        self.db.close()
        steps = [self.expected.step(*step) for step in steps]
        states, answers = [self.expected.copy()], []
        for step in steps:
            state = states[-1].copy()
            try:
                answers.append(["ok", state.apply(step)])
            except RefusedError as refused:
                answers.append(["error", str(refused)])
            states.append(state)
        end = self.killer.ask(
            trade="kill",
            path=self.path,
            now=self.expected.now,
            steps=steps,
            kill_after=min(kill_after, len(steps) - 1),
            delay=delay,
            options=self.options,
        )
        assert end["killed"], end
        acknowledged = len(end["lines"])
        self.story.append(f"killed after {acknowledged} of {steps}")
        assert end["lines"] == answers[:acknowledged]
        self.db = srvdb.open(self.path, **self.options)
        rows, log = contents(self.db), change_log(self.db)
        names = self.snapshot_names()
        for state in states[acknowledged : acknowledged + 2]:
            if (state.rows, state.log) == (rows, log) and names in (None, set(state.snapshots)):
                self.expected = state
                break
        else:
            wanted = [(state.rows, state.log) for state in states[acknowledged:][:2]]
            raise AssertionError(f"after {acknowledged} of {steps}: {rows}, {log}; {wanted}")
        done["kills"] += 1

    def snapshot_names(self):
        if "create_snapshot" in MISSING:
            return None
        return {kept.name for kept in self.db.list_snapshots() if len(kept.name) == 2}

    # ---- other eyes ------------------------------------------------------------------------------

    @has("refresh")
    @rule()
    def a_reader_in_another_process_moves_on(self):
        self.db.persist()
        seen = self.reader.ask(trade="refresh", path=self.path, now=self.expected.now)
        assert (seen["rows"], seen["log"]) == (self.expected.rows, self.expected.log)
        self.pinned = self.expected.copy()
        done["refreshed"] += 1

    @precondition(lambda self: self.pinned is not None)
    @rule()
    def a_reader_that_is_not_refreshed_sees_what_it_saw(self):
        seen = self.reader.ask(trade="look", path=self.path, now=self.expected.now)
        assert seen["rows"] == self.expected.still_there(self.pinned.rows)
        assert seen["log"] == self.pinned.log
        done["reader looks"] += 1

    @has("create_snapshot")
    @rule(name=NAMES)
    def a_snapshot_opens_as_a_database(self, name):
        assert self.snapshot_names() == set(self.expected.snapshots)
        if name not in self.expected.snapshots:
            return
        with self.db.open_snapshot(name) as past:
            assert contents(past) == self.expected.still_there(self.expected.snapshots[name])
        done["snapshots opened"] += 1

    @has("backup")
    @rule(compress=st.sampled_from([None, "zstd"]))
    def a_backup_is_a_database(self, compress):
        self.copies += 1
        copy = str(self.folder / f"copy{self.copies}")
        if compress:
            self.db.backup(copy + ".tar.zst", compress=compress)
            srvdb.restore(copy + ".tar.zst", copy)
        else:
            self.db.backup(copy)
        with srvdb.open(copy) as other:
            assert contents(other) == self.expected.rows
            assert change_log(other) == self.expected.log
        done["backups"] += 1

    # ---- what must be so -------------------------------------------------------------------------

    @rule(
        query=VECTORS,
        k=st.integers(1, 12),
        exact=st.booleans(),
        include_deleted=st.booleans(),
        where=FILTERS,
    )
    def search(self, query, k, exact, include_deleted, where):
        options = {"exact": exact, "include_deleted": include_deleted}
        hits = self.db.search(query, k, **options)
        scores = self.expected.scores(query, self.metric, include_deleted)
        assert len(hits) == min(k, len(scores))
        for hit in hits:
            assert np.isclose(hit.score, scores[hit.id], rtol=1e-5, atol=1e-5)
            assert hit.metadata == self.expected.rows[hit.id][1]
        assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.id))
        if exact:
            best = sorted(scores.values(), reverse=True)[: len(hits)]
            assert np.allclose(hits.scores, best, rtol=1e-5, atol=1e-5)
        batch = self.db.search_batch([query], k, **options)
        assert batch[0].scores.tolist() == hits.scores.tolist()
        done["searches"] += 1
        self.search_by_filter(where, query, k, include_deleted)

    def search_by_filter(self, where, query, k, include_deleted):
        scores = self.expected.scores(query, self.metric, include_deleted)
        rows = {id: self.expected.rows[id] for id in scores}
        wanted = {id for id, row in rows.items() if matches(where, id, row[1])}
        hits = self.db.search(query, k, where=where, include_deleted=include_deleted)
        best = sorted((scores[id] for id in wanted), reverse=True)[:k]
        assert len(hits) == len(best)
        assert set(hits.ids) <= wanted
        assert np.allclose(hits.scores, best, rtol=1e-5, atol=1e-5)
        found = self.db.get_records(where=where, include_deleted=include_deleted)
        assert [record.id for record in found] == sorted(wanted)
        done["searches by filter"] += 1

    @invariant()
    def it_holds_what_the_model_holds(self):
        if self.db is None:
            return
        assert contents(self.db) == self.expected.rows
        assert change_log(self.db) == self.expected.log
        stats = self.db.stats()
        deleted = len(self.expected.rows) - len(self.expected.live())
        assert stats["soft_deleted"] == deleted
        assert stats["rows"] == stats["count"] + stats["soft_deleted"] + stats["gone"]
        assert not stats["background_error"]


@pytest.fixture
def machine():
    Model.killer, Model.reader = Helper(), Helper()
    yield Model
    Model.killer.end()
    Model.reader.end()
    set_clock(None)


def run(machine, examples, steps, number=None):
    """Try sequences of steps; a failure tells what was done before it, as it happened.

    Nothing is made shorter: a kill at another moment is another sequence.
    """
    if number is not None:
        machine = seed(number)(machine)
    Model.failure = ""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=number is None,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except (AssertionError, Flaky, FlakyStrategyDefinition, srvdb.SrvDBError):
        if not Model.failure:
            raise
        pytest.fail(Model.failure, pytrace=False)


def test_any_sequence_of_operations_matches_the_model(machine):
    run(machine, examples=25, steps=30)
    assert done["kills"] > 5
    assert done["searches"] > 5
    assert done["searches by filter"] > 5


@pytest.mark.skipif("SRVDB_MODEL_SECONDS" not in os.environ, reason="the long form is for soaks")
def test_seed_after_seed_matches_the_model(machine):
    number = int(os.environ.get("SRVDB_MODEL_SEED", time.time_ns() % 10**9))
    end = time.monotonic() + float(os.environ["SRVDB_MODEL_SECONDS"])
    done.clear()
    while True:
        print(f"model: seed {number}", flush=True)
        run(machine, examples=20, steps=60, number=number)
        number += 1
        if time.monotonic() > end:
            break
    print("model:", ", ".join(f"{count:,} {what}" for what, count in sorted(done.items())))


@pytest.mark.parametrize("verb", [*STEPS, "backup", "refresh"])
def test_the_model_knows_the_verb(verb):
    if verb in MISSING:
        pytest.skip(f"Database.{verb} does not exist yet: its rules do not run")
    assert hasattr(srvdb.Database, verb.split()[0])
