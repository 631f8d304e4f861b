"""Settings: keyword, environment, configuration, default; and what they do."""

import os
import sys

import numpy as np
import pytest

import srvdb
from helpers import numbered, run_child
from srvdb.config import Settings


def source(db, name):
    return tuple(db.stats()["settings"][name].values())


def test_defaults(db):
    assert source(db, "buffer_size") == (8 << 20, "default")
    assert source(db, "auto_flush_threshold") == (1000, "default")
    assert source(db, "durability") == ("os", "default")
    assert source(db, "ef") == (100, "default")


def test_environment_is_read(path, monkeypatch):
    monkeypatch.setenv("SVDB_BUFFER_SIZE", "65536")
    monkeypatch.setenv("SVDB_AUTO_FLUSH_THRESHOLD", "17")
    monkeypatch.setenv("SVDB_DURABILITY", "disk")
    monkeypatch.setenv("SVDB_BACKGROUND", "false")
    with srvdb.open(path) as db:
        stats = db.stats()
        assert stats["buffer_size"] == 65536
        assert stats["auto_flush_threshold"] == 17
        assert stats["durability"] == "disk"
        assert source(db, "buffer_size") == (65536, "environment SVDB_BUFFER_SIZE")


HALF = {"share": 0.5, "bytes": 64 << 20}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, HALF),
        (True, HALF),
        (False, False),
        (0.25, {"share": 0.25, "bytes": 64 << 20}),
        (1, {"share": 1.0, "bytes": 64 << 20}),
        ({"bytes": 0}, {"share": 0.5, "bytes": 0}),
        ({"share": 0.1, "bytes": 5}, {"share": 0.1, "bytes": 5}),
    ],
)
def test_auto_compact_is_a_flag_a_share_or_a_table(path, given, expected):
    with srvdb.open(path, auto_compact=given) as db:
        assert source(db, "auto_compact") == (expected, "default" if given is None else "keyword")
    with srvdb.open(path, config={} if given is None else {"auto_compact": given}) as db:
        assert source(db, "auto_compact")[0] == expected


@pytest.mark.parametrize(
    "given", [0, -1, 1.5, "half", {"shar": 1}, {"share": 2}, {"bytes": -1}, []]
)
def test_auto_compact_that_makes_no_sense_is_refused(path, given):
    with pytest.raises(srvdb.InvalidInputError, match="auto_compact"):
        srvdb.open(path, auto_compact=given)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "expected"), [("no", False), ("TRUE", HALF), ("0.25", {**HALF, "share": 0.25})]
)
def test_auto_compact_from_the_environment(path, monkeypatch, text, expected):
    monkeypatch.setenv("SVDB_AUTO_COMPACT", text)
    with srvdb.open(path) as db:
        assert source(db, "auto_compact") == (expected, "environment SVDB_AUTO_COMPACT")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_the_first_place_that_names_a_setting_wins(path, monkeypatch):
    path.mkdir()
    (path / "config.toml").write_text("buffer_size = 10000\nef = 11\nauto_flush_threshold = 12\n")
    monkeypatch.setenv("SVDB_EF", "22")
    monkeypatch.setenv("SVDB_AUTO_FLUSH_THRESHOLD", "23")
    with srvdb.open(path, auto_flush_threshold=33) as db:
        assert source(db, "buffer_size") == (10000, str(path / "config.toml"))
        assert source(db, "ef") == (22, "environment SVDB_EF")
        assert source(db, "auto_flush_threshold") == (33, "keyword")
        assert source(db, "durability") == ("os", "default")
        assert db.stats()["ef"] == 22
    with srvdb.open(path, config={"buffer_size": 5000}) as db:
        assert source(db, "buffer_size") == (5000, "config")


def test_configuration_from_another_file(path, tmp_path):
    other = tmp_path / "other.toml"
    with pytest.raises(srvdb.NotFoundError, match=r"other\.toml"):
        srvdb.open(path, config=other)
    if sys.version_info >= (3, 11):
        other.write_text('durability = "memory"')
        with srvdb.open(path, config=str(other)) as db:
            assert source(db, "durability") == ("memory", str(other))


@pytest.mark.parametrize(
    ("environment", "config", "message"),
    [
        ({"SVDB_BUFER_SIZE": "1"}, None, "SVDB_BUFER_SIZE.*SVDB_BUFFER_SIZE"),
        ({"SVDB_BUFFER_SIZE": "big"}, None, "SVDB_BUFFER_SIZE.*'big'"),
        ({"SVDB_BUFFER_SIZE": "1"}, None, "SVDB_BUFFER_SIZE.*4,096"),
        ({"SVDB_AUTO_FLUSH_THRESHOLD": "0"}, None, "SVDB_AUTO_FLUSH_THRESHOLD"),
        ({"SVDB_DURABILITY": "ram"}, None, "SVDB_DURABILITY.*'ram'"),
        ({"SVDB_BACKGROUND": "perhaps"}, None, "SVDB_BACKGROUND"),
        ({"SVDB_AUTO_COMPACT": "perhaps"}, None, "SVDB_AUTO_COMPACT.*share"),
        ({"SVDB_AUTO_COMPACT": "2"}, None, "SVDB_AUTO_COMPACT.*up to 1"),
        ({}, {"bufer_size": 1}, "bufer_size.*buffer_size"),
        ({}, {"dimension": 8}, "unknown key 'dimension'"),
        ({}, {"buffer_size": "8MB"}, "buffer_size in config.*str"),
        ({}, {"ef": True}, "ef in config.*bool"),
    ],
)
def test_what_is_unknown_or_wrong_is_an_error(path, monkeypatch, environment, config, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(srvdb.InvalidInputError, match=message):
        srvdb.open(path, config=config)
    assert not path.exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_broken_or_misspelt_file_is_an_error(path):
    path.mkdir()
    (path / "config.toml").write_text("buffer_size = ")
    with pytest.raises(srvdb.InvalidInputError, match=r"config\.toml is not valid TOML"):
        srvdb.open(path)
    (path / "config.toml").write_text("[index]\nm = 3\n")
    with pytest.raises(srvdb.InvalidInputError, match="unknown key 'index'"):
        srvdb.open(path)


def test_without_a_toml_reader_the_error_says_what_to_do(path, monkeypatch):
    path.mkdir()
    (path / "config.toml").write_text("ef = 3")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(srvdb.InvalidInputError, match="pip install tomli"):
        srvdb.open(path)
    with srvdb.open(path, config={"ef": 3}) as db:
        assert db.stats()["ef"] == 3


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().buffer_size = 3


def test_a_setting_that_changes_later_is_shown(db):
    db.set_ef_search(77)
    assert source(db, "ef") == (77, "this process")


@pytest.mark.parametrize("threshold", [1, 7, 100])
def test_threshold_bounds_the_append_buffer(path, threshold):
    with srvdb.open(path, auto_flush_threshold=threshold) as db:
        for i in range(30):
            db.add([f"a{i}", f"b{i}"], np.ones((2, 8)))
            assert db.stats()["buffered_rows"] <= threshold
        assert len(db) == 60


def test_size_bounds_the_append_buffer(path):
    with srvdb.open(path, buffer_size=4096) as db:
        for i in range(30):
            db.add(numbered(3, 3 * i), np.ones((3, 100)))
            assert db.stats()["buffered_rows"] * 400 <= 4096
        assert len(db) == 90


@pytest.mark.parametrize("simd", ["baseline", "avx2", "avx512", "neon", "mmx"])
def test_forced_instruction_set_is_used_or_refused(path, simd):
    code = "import sys, srvdb; db = srvdb.open(sys.argv[1]); print(db.stats()['simd'])"
    done = run_child(code, str(path), env={**os.environ, "SRVDB_SIMD": simd})
    assert done.stdout.strip() == simd or (done.returncode != 0 and simd in done.stderr), done
