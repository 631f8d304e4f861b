"""Fixtures of all tests: a path, a small database, no settings from the environment."""

import os

import numpy as np
import pytest

import srvdb


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
