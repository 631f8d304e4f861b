"""Bad input, one by one: a typed error that names the item; nothing of the batch is applied."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest

import srvdb

NAN, INF = float("nan"), float("inf")
GOOD = [[1.0, 2.0]]


def four(bad, item=2):
    """Four rows, one of them bad."""
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    rows[item] = bad
    return rows


IDS = ["p", "q", "r", "s"]
CASES = {
    "nan": ((IDS, four([NAN, 1.0])), srvdb.InvalidInputError, "item 2"),
    "infinity": ((IDS, four([1.0, -INF])), srvdb.InvalidInputError, "item 2"),
    "too large for float32": ((IDS, np.array(four([1e300, 0]))), srvdb.InvalidInputError, "item 2"),
    "text": ((IDS, four([1.0, "x"])), srvdb.InvalidInputError, "item 2.*str.*'x'"),
    "none": ((IDS, four([1.0, None])), srvdb.InvalidInputError, "item 2.*NoneType"),
    "one number": ((IDS, four(5.0)), srvdb.InvalidInputError, "item 2.*float"),
    "bool": ((IDS, np.ones((4, 2), bool)), srvdb.InvalidInputError, "bool"),
    "complex": ((IDS, np.ones((4, 2), complex)), srvdb.InvalidInputError, "complex"),
    "dates": ((IDS, np.zeros((4, 2), "M8[s]")), srvdb.InvalidInputError, "datetime"),
    "short row": ((IDS, four([1.0])), srvdb.DimensionError, "item 2.*2.*1"),
    "wrong dimension": ((IDS, np.ones((4, 3))), srvdb.DimensionError, "2.*3"),
    "no dimension": ((IDS, np.ones((4, 0))), srvdb.SrvDBError, ""),
    "one vector": ((["p"], [1.0, 2.0]), srvdb.InvalidInputError, r"\(2,\)"),
    "three axes": ((IDS, np.ones((4, 1, 2))), srvdb.InvalidInputError, r"\(4, 1, 2\)"),
    "fewer vectors": ((IDS, GOOD * 3), srvdb.InvalidInputError, "4 and 3"),
    "fewer metadatas": ((IDS, GOOD * 4, [{}] * 3), srvdb.InvalidInputError, "4, 4 and 3"),
    "int id": ((["p", 7, "r", "s"], GOOD * 4), srvdb.InvalidInputError, r"item 1.*int.*str\(i\)"),
    "numpy int id": ((np.arange(4), GOOD * 4), srvdb.InvalidInputError, r"item 0.*str\(i\)"),
    "none id": ((["p", None, "r", "s"], GOOD * 4), srvdb.InvalidInputError, "item 1.*NoneType"),
    "bytes id": ((["p", b"q", "r", "s"], GOOD * 4), srvdb.InvalidInputError, "item 1.*bytes"),
    "empty id": ((["p", "", "r", "s"], GOOD * 4), srvdb.InvalidInputError, "item 1"),
    "long id": ((["p", "é" * 256, "r", "s"], GOOD * 4), srvdb.InvalidInputError, "item 1.*51[12]"),
    "surrogate id": ((["p", "\ud800", "r", "s"], GOOD * 4), srvdb.InvalidInputError, "item 1"),
    "ids are one str": (("pqrs", GOOD * 4), srvdb.InvalidInputError, "one str"),
    "ids are a number": ((5, GOOD * 4), srvdb.InvalidInputError, "int"),
    "existing id": ((["p", "q", "old", "s"], GOOD * 4), srvdb.DuplicateIdError, "item 2.*old"),
    "same id twice": ((["p", "q", "p", "s"], GOOD * 4), srvdb.DuplicateIdError, "'p'"),
    "metadata is one dict": ((IDS, GOOD * 4, {"a": 1}), srvdb.InvalidInputError, "one dict"),
    "metadata is one str": ((IDS, GOOD * 4, "{}"), srvdb.InvalidInputError, "one str"),
}
for name, bad, message in [
    ("metadata is a list", [1], "list"),
    ("metadata is a number", 3, "int"),
    ("metadata is bytes", b"{}", "bytes"),
    ("metadata is empty text", "", ""),
    ("metadata is broken JSON", '{"a": ', "JSON"),
    ("metadata is a JSON list", "[1]", "JSON object"),
    ("metadata is JSON with more behind", "{} {}", "JSON"),
    ("metadata has NaN as text", '{"a": NaN}', "JSON"),
    ("metadata holds NaN", {"a": NAN}, "NaN"),
    ("metadata holds infinity", {"a": [INF]}, "infinity"),
    ("metadata holds a set", {"a": {1}}, "set"),
    ("metadata holds an array", {"a": np.ones(2)}, "ndarray"),
    ("metadata key is a number", {1: 2}, "keys.*int"),
    ("metadata holds a long integer", {"a": 2**64}, "64 bits"),
    ("metadata holds a surrogate", {"a": "\ud800"}, "Unicode"),
    ("metadata is larger than 1 MiB", {"a": "x" * (1 << 20)}, "1,?048,?576|1 MiB"),
    ("metadata text is larger than 1 MiB", '{"a": "' + "x" * (1 << 20) + '"}', "1,?048,?576|1 MiB"),
]:
    CASES[name] = (
        (IDS, GOOD * 4, [{}, {}, bad, {}]),
        srvdb.InvalidInputError,
        f"item 2.*{message}",
    )


@pytest.fixture(params=["one", "sharded"])
def two(request, path):
    """A database, or three shards, with one row of two dimensions."""
    opened = srvdb.open(path) if request.param == "one" else srvdb.ShardedDatabase(path, shards=3)
    with opened as database:
        database.add(["old"], [[1.0, 2.0]])
        yield database


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", ["add", "upsert", "add_batch"])
def test_bad_batch_is_refused_whole(two, verb, case):
    arguments, error, message = CASES[case]
    if verb == "upsert" and error is srvdb.DuplicateIdError:
        pytest.skip("upsert takes equal ids")
    with pytest.raises(error, match=f"(?s){message}") as caught:
        getattr(two, verb)(*arguments)
    assert isinstance(caught.value, ValueError)
    assert list(two) == ["old"]
    assert two.search([1.0, 2.0]).ids == ["old"]
    assert two.add(["p"], GOOD) == 1


def test_nested_too_deep_is_refused(db):
    loop = {}
    loop["self"] = loop
    with pytest.raises(srvdb.InvalidInputError, match=r"item 0.*nested"):
        db.add(["a"], GOOD, [loop])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0, 2.0, 3.0],), {}, srvdb.DimensionError, "2.*3"),
        (([NAN, 1.0],), {}, srvdb.InvalidInputError, "(?i)nan|finite"),
        (([INF, 1.0],), {}, srvdb.InvalidInputError, "(?i)inf|finite"),
        ((["a", "b"],), {}, srvdb.InvalidInputError, "numbers"),
        (([[1.0, 2.0]],), {}, srvdb.InvalidInputError, "search_batch"),
        ((3.0,), {}, srvdb.InvalidInputError, "one dimension"),
        ((None,), {}, srvdb.InvalidInputError, "numbers"),
        (([1.0, 2.0], 0), {}, srvdb.InvalidInputError, "k must be at least 1"),
        (([1.0, 2.0], -3), {}, srvdb.InvalidInputError, "-3"),
        (([1.0, 2.0], 1.5), {}, srvdb.InvalidInputError, "float"),
        (([1.0, 2.0], "3"), {}, srvdb.InvalidInputError, "str"),
        (([1.0, 2.0], True), {}, srvdb.InvalidInputError, "bool"),
        (([1.0, 2.0],), {"ef": 0}, srvdb.InvalidInputError, "ef"),
        (([1.0, 2.0],), {"ef": 10**7}, srvdb.InvalidInputError, "ef"),
        (([1.0, 2.0],), {"include": ["vector"]}, srvdb.InvalidInputError, "vector"),
    ],
)
def test_bad_query_is_refused(two, arguments, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        two.search(*arguments, **options)


def test_bad_query_of_a_batch_is_named(two):
    with pytest.raises(srvdb.InvalidInputError, match="1"):
        two.search_batch([[1.0, 2.0], [NAN, 2.0]])
    with pytest.raises(srvdb.DimensionError, match="item 1"):
        two.search_batch([[1.0, 2.0], [1.0]])
    with pytest.raises(srvdb.DimensionError, match=r"2.*3"):
        two.search_batch(np.ones((2, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.get(3),
        lambda db: db.delete([3]),
        lambda db: db.get_records([3]),
        lambda db: db.delete("old"),
        lambda db: db.scroll(limit=0),
        lambda db: db.set_ef_search(0),
        lambda db: db.set_mode("fast"),
        lambda db: db.set_mode("pq"),
        lambda db: db.add_batch(5),
        lambda db: db.add_batch([("a",)]),
        lambda db: db.add_batch(["a"], metadatas=[{}]),
    ],
)
def test_other_bad_arguments_are_refused(two, call):
    with pytest.raises(srvdb.InvalidInputError):
        call(two)
    assert two.count() == 1


UPDATES = {
    "nothing to change": ([("old", None)], srvdb.InvalidInputError, "item 0.*got none"),
    "id alone": ([("old",)], srvdb.InvalidInputError, "item 0.*tuple"),
    "too many parts": ([("old", [1, 2], {}, None, 5)], srvdb.InvalidInputError, "item 0.*tuple"),
    "an id": (["old"], srvdb.InvalidInputError, "item 0.*str"),
    "one dict": ({"id": "old", "metadata": {}}, srvdb.InvalidInputError, "one dict"),
    "one str": ("old", srvdb.InvalidInputError, "one str"),
    "a number": (5, srvdb.InvalidInputError, "one int"),
    "unknown key": ([{"id": "old", "embeding": [1]}], srvdb.InvalidInputError, "item 0.*embeding"),
    "no id": ([{"metadata": {}}], srvdb.InvalidInputError, "item 0.*'id'"),
    "int id": ([{"id": 3, "metadata": {}}], srvdb.InvalidInputError, r"item 0.*str\(i\)"),
    "empty id": ([("", None, {})], srvdb.InvalidInputError, "item 0"),
    "same id twice": (
        [("old", [3, 4]), ("old", None, {})],
        srvdb.InvalidInputError,
        "item 1.*'old'.*item 0",
    ),
    "nan": ([("old", [1.0, NAN])], srvdb.InvalidInputError, "item 0.*component 1"),
    "text": ([("old", ["a", "b"])], srvdb.InvalidInputError, "item 0: embedding.*numbers"),
    "two axes": ([("old", [[1.0, 2.0]])], srvdb.InvalidInputError, "item 0: embedding.*shape"),
    "no dimension": ([("old", [])], srvdb.DimensionError, ""),
    "wrong dimension": ([("old", [1.0, 2.0, 3.0])], srvdb.DimensionError, "2.*3"),
    "ragged": ([("old", [1.0, 2.0]), ("new", [1.0])], srvdb.DimensionError, "item 1.*2.*1"),
    "metadata is a list": ([("old", None, [1])], srvdb.InvalidInputError, "item 0.*list"),
    "metadata is empty": ([("old", None, "")], srvdb.InvalidInputError, "item 0.*JSON object"),
    "metadata is broken": ([("old", None, "{")], srvdb.InvalidInputError, "item 0.*JSON"),
    "metadata holds NaN": ([("old", None, {"a": NAN})], srvdb.InvalidInputError, "item 0.*NaN"),
    "expiry is text": ([("old", None, None, "1h")], srvdb.InvalidInputError, "item 0: expires_at"),
    "expiry is past": ([("old", None, None, -5)], srvdb.InvalidInputError, "item 0.*1970"),
}


@pytest.fixture(scope="module", params=["one", "sharded"])
def kept(request, tmp_path_factory):
    """A database, or three shards, with two rows, for tests that change nothing."""
    path = tmp_path_factory.mktemp("kept") / "db"
    opened = srvdb.open(path) if request.param == "one" else srvdb.ShardedDatabase(path, shards=3)
    with opened as database:
        database.add(["old", "first"], [[1.0, 2.0], [5.0, 6.0]], [None, {"n": 1}])
        yield database


@pytest.mark.parametrize("case", UPDATES)
def test_bad_update_is_refused_whole(kept, case):
    updates, error, message = UPDATES[case]
    with pytest.raises(error, match=f"(?s){message}"):
        kept.batch_update(updates)
    if isinstance(updates, list) and len(updates) == 1:
        # The other way round: what comes before a bad item is not applied either.
        with pytest.raises(error):
            kept.batch_update([{"id": "first", "embedding": [7.0, 8.0], "metadata": {}}, *updates])
    first = kept.get_records(["first"], include=("metadata", "embedding"))[0]
    assert (first.metadata, first.embedding.tolist()) == ({"n": 1}, [5.0, 6.0])
    assert kept.search([1.0, 2.0], k=1).ids == ["old"]


EXPIRIES = {
    "text": ("tomorrow", "str"),
    "bool": (True, "bool"),
    "nan": (NAN, "nan"),
    "infinity": (INF, "inf"),
    "zero": (0, "1970.*NEVER"),
    "negative": (-1.5, "1970"),
    "milliseconds": (1_800_000_000_000, "seconds, not milliseconds"),
    "naive": (datetime(2040, 1, 1), "time zone"),
    "date": (date(2040, 1, 1), "date"),
    "numpy date": (np.datetime64("2040-01-01"), "datetime64"),
    "before 1970": (datetime(1969, 1, 1, tzinfo=timezone.utc), "1970"),
    "long ago": (timedelta(days=-100_000), "1970"),
    "far off": (timedelta(days=10_000_000), "9999"),
    "dict": ({"a": 1}, "length"),
    "too few": ([], "length"),
    "bad entry": ([None, "x"], "item 1: expires_at"),
    "set of names": ({"x", "y"}, "item 0"),
}


@pytest.mark.parametrize("case", EXPIRIES)
def test_bad_expiry_is_refused_whole(kept, case):
    value, message = EXPIRIES[case]
    for write in (kept.add, kept.upsert, kept.add_batch):
        with pytest.raises(srvdb.InvalidInputError, match=f"(?s)expires_at.*{message}|{message}"):
            write(["x", "y"], GOOD * 2, expires_at=value)
    assert list(kept) == ["first", "old"]


def test_expiries_of_an_iterable_must_be_one(kept):
    with pytest.raises(srvdb.InvalidInputError, match="one moment for all"):
        kept.add_batch(iter([("x", [1.0, 2.0])]), expires_at=[5])
    assert list(kept) == ["first", "old"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("old", "one str"),
        (5, "int"),
        (None, "NoneType|ids or where, got neither"),
        ([1], r"item 0.*str\(i\)"),
        (["old", b"x"], "item 1.*bytes"),
        (["old", None], "item 1.*NoneType"),
        (["old", "\ud800"], "item 1.*Unicode"),
    ],
)
def test_bad_ids_are_refused_whole(kept, ids, message):
    for verb in (kept.delete, kept.soft_delete, kept.restore):
        with pytest.raises(srvdb.InvalidInputError, match=message):
            verb(ids)
    assert (list(kept), kept.deleted_ids()) == (["first", "old"], [])


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.update(3, [1.0, 2.0]),
        lambda db: db.update(["old"], [1.0, 2.0]),
        lambda db: db.update("old"),
        lambda db: db.change_log(0),
        lambda db: db.change_log("5"),
        lambda db: db.change_log(since="yesterday"),
        lambda db: db.change_log(since=-1),
        lambda db: db.change_log(since=1.5),
        lambda db: db.change_log(operation="ad"),
        lambda db: db.change_log(operation=3),
        lambda db: db.trim_change_log("yesterday"),
        lambda db: db.trim_change_log(None),
        lambda db: db.trim_change_log(True),
        lambda db: db.trim_change_log(-1),
    ],
)
def test_other_bad_arguments_of_the_verbs_are_refused(kept, call):
    with pytest.raises(srvdb.InvalidInputError):
        call(kept)
    assert {entry.operation for entry in kept.change_log()} == {"add"}


@pytest.mark.parametrize(
    "options",
    [
        {"dimension": 0},
        {"dimension": 65537},
        {"dimension": "8"},
        {"metric": "manhattan"},
        {"mode": "fast"},
        {"durability": "ram"},
        {"m": 1},
        {"ef_construction": 0},
        {"ef": 0},
        {"buffer_size": 10},
        {"auto_flush_threshold": 0},
    ],
)
def test_bad_option_is_refused_and_creates_nothing(path, options):
    with pytest.raises(srvdb.InvalidInputError, match=next(iter(options))):
        srvdb.open(path, **options)
    assert not path.exists()


def test_a_batch_over_the_limit_points_to_add_batch(db):
    with pytest.raises(srvdb.InvalidInputError, match="add_batch"):
        db.add([str(i) for i in range(100_001)], np.ones((100_001, 2), np.float32))
    with pytest.raises(srvdb.InvalidInputError, match="add_batch"):
        db.add([str(i) for i in range(80)], np.ones((80, 2)), [{"a": "x" * 999_999}] * 80)
    assert len(db) == 0
