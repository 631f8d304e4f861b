"""Fixtures of all tests: a path, a small database, no settings from the environment."""

import os
from datetime import timedelta

import numpy as np
import pytest

import srvdb
from helpers import START, opened
from srvdb._native import set_clock_for_tests


@pytest.fixture(autouse=True)
def no_settings_of_the_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SVDB_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def path(tmp_path):
    """Where a database may be created."""
    return tmp_path / "db"


@pytest.fixture
def db(path):
    """An empty database."""
    with srvdb.open(path) as database:
        yield database


@pytest.fixture
def abc(path):
    """Rows a, b, c of two dimensions, with metadata."""
    with srvdb.open(path) as database:
        database.add(
            ["a", "b", "c"],
            [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
            [{"year": 2024}, {"year": 2025}, {"year": 2025}],
        )
        yield database


@pytest.fixture
def rng():
    return np.random.default_rng(20240601)


class Clock:
    """The time of day as the databases of this process see it."""

    def __init__(self):
        self.set(START)

    def set(self, now):
        self.now = now
        set_clock_for_tests(round(now.timestamp() * 1e6))

    def forward(self, **how_far):
        self.set(self.now + timedelta(**how_far))


@pytest.fixture
def clock():
    yield Clock()
    set_clock_for_tests(None)


@pytest.fixture(params=["one", "sharded"])
def kind(request):
    """One database, or shards: for promises that both make."""
    return request.param


@pytest.fixture
def both(path, kind):
    """Rows a, b, c as in `abc`, in one database, and in three shards."""
    with opened(kind, path) as database:
        database.add(
            ["a", "b", "c"],
            [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
            [{"year": 2024}, {"year": 2025}, {"year": 2026}],
        )
        yield database
