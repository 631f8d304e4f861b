"""The core reads filters and documents as the reference in plain Python does.

The long form, for a soak: ``SRVDB_FILTER_SECONDS=600 SRVDB_FILTER_SEED=7 pytest -s
test_filter_language.py`` tries one seed after the other until the time is up.
"""

import json
import os
import time
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest

import filter_reference as reference
from filter_hypothesis import hold
from filter_strategies import IDS, documents, filters, odd_filters
from srvdb._native import filter_matches_for_tests
from srvdb.errors import FilterError

ROWS = st.lists(documents, min_size=4, max_size=12)
FILTERS = st.lists(filters, min_size=4, max_size=12)

done: Counter[str] = Counter()


def ids_for(rows: list[str]) -> list[str]:
    return [IDS[i % len(IDS)] for i in range(len(rows))]


def same_rows(rows: list[str], wheres: list[dict[str, Any]]) -> None:
    read = [json.loads(row) for row in rows]
    ids = ids_for(rows)
    done["cases"] += len(rows) * len(wheres)
    for where in wheres:
        got = filter_matches_for_tests(reference.as_text(where), ids, rows)
        wanted = [reference.matches(where, *row) for row in zip(ids, read, strict=True)]
        differing = [i for i in range(len(rows)) if got[i] != wanted[i]]
        assert not differing, (where, [(ids[i], rows[i], got[i]) for i in differing])


def same_grammar(where: Any) -> None:
    done["odd filters"] += 1
    try:
        reference.check(where)
        wanted = True
    except reference.RefusedError:
        wanted = False
    try:
        filter_matches_for_tests(reference.as_text(where), [], [])
        got = True
    except FilterError:
        got = False
    assert got == wanted, where


def test_a_filter_matches_what_the_reference_says():
    hold(same_rows, ROWS, FILTERS, examples=100)


def test_the_grammar_is_the_one_of_the_reference():
    hold(same_grammar, odd_filters, examples=400)


@pytest.mark.skipif("SRVDB_FILTER_SECONDS" not in os.environ, reason="the long form is for soaks")
def test_seed_after_seed_agrees_with_the_reference():
    number = int(os.environ.get("SRVDB_FILTER_SEED", time.time_ns() % 10**9))
    end = time.monotonic() + float(os.environ["SRVDB_FILTER_SECONDS"])
    while time.monotonic() < end:
        print(f"filters: seed {number}", flush=True)
        hold(same_rows, ROWS, FILTERS, examples=2000, number=number)
        hold(same_grammar, odd_filters, examples=2000, number=number)
        number += 1
    print("filters:", ", ".join(f"{count:,} {what}" for what, count in sorted(done.items())))
