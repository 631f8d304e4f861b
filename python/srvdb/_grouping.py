"""``group_by``: the best rows of the best groups, in a search, a batch, over shards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from srvdb._arrays import MAX_EF, MAX_K, MAX_THREADS, Floats, as_count, as_recall
from srvdb._filters import as_name, as_wheres
from srvdb._native import StopFlag
from srvdb._verbs import Verbs
from srvdb.errors import InvalidInputError
from srvdb.hits import Hit, Hits, as_include

#: A hit with its group, the JSON text of the value that its rows have.
Grouped: TypeAlias = tuple[Hit, str]


@dataclass(frozen=True)
class GroupQuery:
    """What ``_search_groups`` is asked, checked: the arguments of ``search_batch``."""

    queries: Floats
    k: int
    where: str  # for all queries
    wheres: list[str]  # or one for each
    ef: int
    recall: float
    exact: bool
    metadata: bool
    embedding: bool
    include_deleted: bool
    threads: int
    field: str
    size: int
    among: tuple[tuple[str, ...], ...] = ()  # for each query the only groups that count; (): all
    stop: StopFlag | None = None


class Grouping(Verbs):
    """Searches for groups."""

    @abstractmethod
    def _search_groups(self, asked: GroupQuery) -> list[list[Grouped]]:
        """Return for each query the best hits of its best groups, best first."""


def as_group_query(
    queries: Floats,
    k: object,
    where: object,
    ef: int | None,
    recall: float | None,
    exact: bool,
    include: Iterable[str],
    include_deleted: bool,
    threads: int,
    group_by: object,
    group_size: object,
) -> GroupQuery:
    """Check the arguments of a search for groups.

    Raises
    ------
    FilterError
        ``where`` cannot be written as JSON, or is a list of another length than the queries.
    InvalidInputError
        One that is out of range.
    """
    text, texts = as_wheres(where, len(queries))
    if group_by in ("$id", ""):
        raise InvalidInputError(f"group_by must be a field of the metadata, got {group_by!r}")
    return GroupQuery(
        queries,
        as_count(k, "k", 1, MAX_K, clip=True),
        text,
        texts,
        0 if ef is None else as_count(ef, "ef", 1, MAX_EF),
        0.0 if recall is None else as_recall(recall),
        bool(exact),
        *as_include(include),
        bool(include_deleted),
        as_count(threads, "threads", 0, MAX_THREADS),
        as_name(group_by, "group_by"),
        as_count(group_size, "group_size", 1, MAX_K, clip=True),
    )


def best_groups(found: Iterable[Grouped], k: int, size: int) -> list[Grouped]:
    """Return the best hits of the k best groups among some hits, best first."""
    counts: dict[str, int] = {}
    kept = []
    for hit, group in sorted(found, key=lambda one: (-one[0][1], one[0][0])):
        if group not in counts and len(counts) == k:
            continue
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= size:
            kept.append((hit, group))
    return kept


def groups_of(found: Sequence[Grouped]) -> tuple[str, ...]:
    """Return the groups that hits are of, each once."""
    return tuple(sorted({group for _, group in found}))


def to_hits(found: Iterable[Grouped]) -> Hits:
    """Return hits without their groups."""
    return Hits(hit for hit, _ in found)
