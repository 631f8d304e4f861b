"""Bad input, one by one: a typed error that names the item; nothing of the batch is applied."""

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
