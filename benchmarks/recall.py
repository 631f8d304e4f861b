"""Recall by distance: a result counts when it is no further away than the true k-th, so ties count.

All distances are computed here, in float64, from the vectors; nothing that a library reports is
believed. Lower is better: 1 - cosine, minus the inner product, or the squared Euclidean distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import Floats, Rows, VectorSet

Doubles = NDArray[np.float64]

# Rounding of the float64 distances themselves, relative to their size; far below the gap between
# two float32 vectors that differ.
TOLERANCE = 1e-10
_BLOCK = 32_768


def distances(base: Floats, queries: Floats, found: Rows, metric: str) -> Doubles:
    """Distance of every found row, `(n_queries, k)`; infinity where `found` is negative."""
    result = np.full(found.shape, np.inf)
    for i, rows in enumerate(found):
        there = rows >= 0
        block = base[rows[there]].astype(np.float64)
        query = queries[i].astype(np.float64)
        if metric == "l2":
            result[i, there] = np.square(block - query).sum(axis=1)
            continue
        dots = block @ query
        if metric == "cosine":
            sizes = np.linalg.norm(block, axis=1) * np.linalg.norm(query)
            dots = 1.0 - np.divide(dots, sizes, out=np.zeros_like(dots), where=sizes > 0)
        else:
            dots = -dots
        result[i, there] = dots
    return result


def brute_force(base: Floats, queries: Floats, metric: str, k: int) -> Rows:
    """The exact top k of each query in float64, `(n_queries, min(k, rows))`, best first."""
    best = np.full((len(queries), 0), -1, dtype=np.int64)
    exact = queries.astype(np.float64)
    for start in range(0, len(base), _BLOCK):
        block = base[start : start + _BLOCK].astype(np.float64)
        keys = -(exact @ block.T)
        sizes = np.linalg.norm(block, axis=1)
        if metric == "l2":
            keys = 2 * keys + np.square(sizes)
        elif metric == "cosine":
            keys /= np.where(sizes > 0, sizes, 1.0)
        # A few more than k: the matrix product rounds otherwise than the final distances do.
        wanted = min(k + 16, len(block))
        rows = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted] + start
        best = np.hstack([best, rows])
        if best.shape[1] > 8 * (k + 16):
            best = _shrink(base, queries, best, metric, k + 16)
    return _shrink(base, queries, best, metric, k)


def _shrink(base: Floats, queries: Floats, rows: Rows, metric: str, k: int) -> Rows:
    keys = distances(base, queries, rows, metric)
    order = np.lexsort((rows, keys), axis=1)[:, :k]
    return np.asarray(np.take_along_axis(rows, order, axis=1))


def truth_of(data: VectorSet, k: int) -> Rows:
    """The set's own ground truth when it is deep enough, else brute force."""
    rows = len(data.base)
    if data.truth is not None and data.truth.shape[1] >= min(k, rows):
        return data.truth[:, :k]
    return brute_force(data.base, data.queries, data.metric, k)


def recall_at(data: VectorSet, found: Rows, k: int, truth: Rows | None = None) -> float:
    """Share of the k best that was found, averaged over the queries; ties count, duplicates do not.

    `found` is `(n_queries, at most k)` row numbers, padded with -1.
    """
    truth = truth_of(data, k) if truth is None else truth[:, :k]
    if not len(found):
        return 0.0
    limit = distances(data.base, data.queries, truth, data.metric).max(axis=1)
    keys = distances(data.base, data.queries, found[:, :k], data.metric)
    slack = TOLERANCE * np.maximum(1.0, np.abs(limit))
    right = keys <= (limit + slack)[:, None]
    hits = [len(set(rows[ok].tolist())) for rows, ok in zip(found[:, :k], right, strict=True)]
    return sum(hits) / (len(hits) * int(truth.shape[1]))


def row_matrix(answers: list[list[int]], k: int) -> Rows:
    """Lists of row numbers as one `(n, k)` array, padded with -1."""
    result = np.full((len(answers), k), -1, dtype=np.int64)
    for i, rows in enumerate(answers):
        result[i, : len(rows)] = rows[:k]
    return result
