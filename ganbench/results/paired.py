"""Tests of two rows by their seeds, and the correction for testing many pairs. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEW_ROWS = 10
_NO_SPREAD = 1e-12
"""Differences whose deviation is below this share of the largest number are all the same, up to rounding."""


def fewest_seeds(rows: int) -> int:
    """Return how many seeds two rows must share before they are tested, among so many rows.

    With fewer, the t-test finds what is not there: `benchmarks/levels.py` counts how often rows that are all alike are
    told apart, where 5 % of tables are allowed for. Of rows that collapse on half of their seeds it was 13 % of tables
    of 5 rows with 3 seeds and 2 % with 5; 17 % of 10 rows with 4 seeds and 7 % with 5; 36 % of 40 rows with 5 seeds and
    4 % with 8. Normal, uniform and log-normal scores gave 6 % at most, with 2 seeds already.
    """
    return 5 if rows <= FEW_ROWS else 8


@dataclass(frozen=True)
class Pairs:
    """All pairs of rows. `p`: `[k, k]`, NaN where a pair is not tested. `shared`: how many seeds each pair has.

    `by_ranks`: how many pairs were tested by ranks.
    """

    p: Floats
    shared: NDArray[np.int64]
    by_ranks: int


def compare(badness: Floats, fewest: int) -> Pairs:
    """Test all pairs of rows `[k, n]`, paired by seed; NaN where a row has no such seed, infinity where that failed.

    Equal seeds share the order of the data and the latents of the evaluation, so differences are tested, not rows.
    The test is Student's of paired differences. An exact test of their signs cannot give less than 2 / 2^n, so that
    with 5 seeds it never rejects at 5 %, and with 8 no more than six pairs after Holm's correction; GANs are not
    trained often enough for that. The price is the assumption that differences are normal. Those of rows that are
    alike are symmetric at least, whatever the scores are, for which heavy tails make the t-test reject too seldom;
    what makes it reject too often, few seeds and two clusters, is kept out by `fewest`. Where differences are infinite
    or all the same, so that they are anything but normal, Wilcoxon's exact signed-rank test stands in.
    """
    from scipy.special import stdtr  # scipy.stats says the same but takes a second to import

    k = len(badness)
    p, shared, by_ranks = np.full((k, k), np.nan), np.zeros((k, k), np.int64), 0
    size = np.abs(np.where(np.isfinite(badness), badness, 0.0)).max(axis=1, initial=0.0)
    for i in range(k - 1):
        differences, there = _differences(badness[i], badness[i + 1 :])
        n = there.sum(axis=1)
        with np.errstate(all="ignore"):  # what is no number here is tested by ranks, or not at all
            known = np.where(there, differences, 0.0)
            mean = known.sum(axis=1) / n
            deviation = np.sqrt((np.where(there, differences - mean[:, None], 0.0) ** 2).sum(axis=1) / (n - 1))
            found = 2 * stdtr(n - 1, -np.abs(mean) / deviation * np.sqrt(n))
        largest = np.abs(known).max(axis=1, initial=0.0)
        normal = np.isfinite(largest) & (deviation > _NO_SPREAD * np.fmax(size[i], size[i + 1 :]))
        for j in np.flatnonzero(~normal & (n >= fewest)):
            found[j] = signed_rank(differences[j][there[j]])
            by_ranks += bool(largest[j] > 0)
        found[n < fewest] = np.nan
        p[i, i + 1 :] = p[i + 1 :, i] = found
        shared[i, i + 1 :] = shared[i + 1 :, i] = n
    return Pairs(p, shared, by_ranks)


def _differences(one: Floats, others: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return differences of a row to others, and which there are; two failures are alike."""
    with np.errstate(invalid="ignore", over="ignore"):
        differences = one - others
    differences[np.isinf(one) & np.isinf(others)] = 0.0
    return differences, ~(np.isnan(one) | np.isnan(others))


def signed_rank(differences: Floats) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, exact also where ranks are tied; no zero counts."""
    differences = differences[differences != 0]
    if not len(differences):  # as those of two names of one method are
        return 1.0
    doubled = [int(rank) for rank in 2 * mean_ranks(np.abs(differences))]  # ranks of ties may be halves
    ways = np.ones(1)
    for rank in doubled:
        ways = np.append(ways, np.zeros(rank)) + np.append(np.zeros(rank), ways)
    positive = sum(rank for rank, each in zip(doubled, differences, strict=True) if each > 0)
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail / ways.sum()))


def mean_ranks(numbers: Any) -> Floats:
    """Return ranks from 1 for the smallest; equal numbers share the mean of theirs."""
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[place]


def holm(p: Floats) -> Floats:
    """Return p-values corrected for their number by Holm's method: those below 5 % are wrong in 5 % of all tables.

    Holm 1979: the smallest of m is multiplied by m, the next by m − 1, and none becomes smaller than the one before.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected
