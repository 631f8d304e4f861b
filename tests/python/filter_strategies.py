"""Documents, as JSON text in all its variety, and filters, for Hypothesis.

Names and values come from small pools most of the time, so that filters and documents meet.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import hypothesis.strategies as st

LONG = "l" * 64  # as much as an index keeps of a string

NAMES = ("a", "b", "c", "d", "a.b", "b.c", "ü", "")
PATHS = (*NAMES, "a.a", "a.b.c", "b.a", "c.", ".a", "d.ü", "a.b.b.c", "missing")
IDS = ("0", "1", "12", "doc/1", "doc/2", "doc", "é", "e\u0301", "\U0001f600")

NUMBERS = (
    *(0, 1, -1, 2, 3, 10, 2020, 2021),
    *(1.0, -0.0, 0.5, -0.5, 2020.0, 2020.5, 1e300, -1e300, 5e-324, 0.1, 1e19),
    *(2**53, 2**53 + 1, float(2**53), 2**62 + 1, float(2**62)),
    *(2**63 - 1, 2**63, 2**63 + 1, float(2**63), -(2**63), float(-(2**63)), -(2**63) + 1),
    *(2**64 - 1, float(2**64), -1e19, 4503599627370495.5),
)
STRINGS = (
    *("", "a", "ab", "abc", "b", "A", "z", "é", "e\u0301", "\uff5e", "\U0001f600", "\x00", "a\x00"),
    *("2020-01-31", "2020-02-01T10:00", "2021", "1", "null", "true", 'q"\\/\n', "doc/1"),
    *(LONG[1:], LONG, LONG + "l", LONG + "m", LONG + "a" * 60, LONG + "\U0001f600", "x" + LONG),
    *("l", "la", "é" * 31 + "xé", "é" * 40, "x" * 300),
)
#: Patterns that RE2 and Python read alike on the strings above.
PATTERNS = (
    *(
        "",
        "a",
        "^a",
        "b$",
        "^.$",
        "a+b*",
        "[a-c]{2}",
        "(a|l)m$",
        "^l{60,70}$",
        "l{64}a",
        r"^\d{4}-",
    ),
    *(r"\x00", "é", "[^a]", "(?i)^A", "x|z", r"^$", r"é{3}", "(?:doc)/[12]$"),
)


def named(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same strategy with a short repr, which Hypothesis asks for at every level of nesting."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return drawn()


scalars = named(
    st.one_of(
        st.sampled_from(NUMBERS),
        st.sampled_from(STRINGS),
        st.sampled_from([None, True, False]),
        st.integers(-5, 5),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=8),
    )
)
names = st.sampled_from(NAMES)
paths = st.one_of(st.sampled_from(PATHS), st.sampled_from(NAMES))
ids = st.sampled_from(IDS)


# ---- documents ----------------------------------------------------------------------------------


def _number(value: int | float, random: Random) -> str:
    """One of the ways to write a number."""
    plain = json.dumps(value)
    if isinstance(value, float):
        return random.choice([plain, f"{value:.17e}"])
    return plain + random.choice(["", "", ".0", "e0"] if abs(value) <= 2**53 else [""])


def _written(value: Any, random: Random) -> str:
    """A value as JSON text; objects are tuples of pairs, so that keys may be there twice."""
    space = random.choice(["", "", " ", "\n\t "])
    if isinstance(value, tuple):
        members = [
            f"{_written(key, random)}{space}:{space}{_written(member, random)}"
            for key, member in value
        ]
        return "{" + space + ",".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(item, random) for item in value) + space + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=random.random() < 0.5)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value, random)
    return json.dumps(value)


def _objects(values: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(names, values), max_size=most).map(tuple)


_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), _objects(inner, 3)),
    max_leaves=5,
)

#: Metadata as JSON text.
documents = st.builds(
    lambda value, number: _written(value, Random(number)),
    _objects(_values, 4),
    st.integers(0, 2**20),
)


# ---- filters ------------------------------------------------------------------------------------

_comparables = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(STRINGS), st.integers(-(2**63), 2**64 - 1)
)
_lists = st.lists(scalars, max_size=5)


def _some(operators: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Dicts of one operator, at times of two or three, `$not` among them."""

    def with_not(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        pairs = [st.tuples(st.just(name), operand) for name, operand in operators.items()]
        one = st.one_of(*pairs, st.tuples(st.just("$not"), inner))
        return st.one_of(one.map(lambda pair: dict([pair])), st.lists(one, min_size=1).map(dict))

    base = st.sampled_from(sorted(operators)).flatmap(
        lambda name: operators[name].map(lambda operand: {name: operand})
    )
    return named(st.one_of(base, with_not(base)))


_field_operators = _some(
    {
        "$eq": scalars,
        "$ne": scalars,
        "$gt": _comparables,
        "$gte": _comparables,
        "$lt": _comparables,
        "$lte": _comparables,
        "$in": _lists,
        "$nin": _lists,
        "$exists": st.booleans(),
        "$contains": scalars,
        "$regex": st.sampled_from(PATTERNS),
    }
)
_texts = st.one_of(ids, st.sampled_from(["", "d", "doc/", "x"]))
_id_operators = _some(
    {
        "$eq": _texts,
        "$ne": _texts,
        "$in": st.lists(_texts, max_size=4),
        "$nin": st.lists(_texts, max_size=4),
        "$prefix": _texts,
    }
)
_members = st.one_of(
    st.tuples(paths, st.one_of(scalars, _field_operators, _field_operators)),
    st.tuples(paths, _field_operators),
    st.tuples(st.just("$id"), st.one_of(_texts, _id_operators)),
)
_conditions = named(
    st.one_of(_members.map(lambda member: dict([member])), st.lists(_members, max_size=3).map(dict))
)

#: Filters in the grammar.
filters = st.recursive(
    _conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
        st.tuples(inner, inner).map(lambda two: {**two[0], **two[1]}),
    ),
    max_leaves=5,
)

_anything = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.just({}), st.just({"a": 1}), st.just([{}])
)
_odd_keys = st.sampled_from([*NAMES, "$and", "$or", "$id", "$not", "$gt", "$eq", "$in", "$like"])

#: Filters of which many are not in the grammar.
odd_filters = st.recursive(
    _anything,
    lambda inner: st.one_of(
        st.dictionaries(_odd_keys, inner, max_size=2),
        st.dictionaries(st.sampled_from(PATHS), _field_operators, max_size=2),
        st.lists(inner, max_size=2),
    ),
    max_leaves=6,
)
