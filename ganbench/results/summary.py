"""Several tables in one: mean ranks over data sets, and by how much they must differ. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ganbench.results.paired import Floats, mean_ranks
from ganbench.results.ranking import LEVEL

FEW_TABLES = 10
"""Below, as a rule of thumb, chi-squared is far from how Friedman's statistic is distributed."""


@dataclass(frozen=True)
class Summary:
    """Mean ranks over `tables`, best first, of the rows that stand in each of them.

    `left_out`: the others, and the tables where they do not stand. `statistic`, `p`: Friedman's, None where there was
    no test. `critical_difference`: by how much mean ranks of two rows differ at least if these can be told apart
    (Nemenyi). `cliques`: the largest groups of rows that cannot, best first; none where there was no test. `note`:
    what a reader must know.
    """

    tables: Sequence[str]
    ranks: Mapping[str, float]
    left_out: Mapping[str, Sequence[str]]
    statistic: float | None = None
    p: float | None = None
    critical_difference: float | None = None
    cliques: Sequence[Sequence[str]] = ()
    note: str = ""


def summarise(tables: Mapping[str, Mapping[str, float | None]]) -> Summary:
    """Compare rows over tables: by title, what is the smaller the better by the name of the row, such as its rank.

    Rows are ranked anew in each table, among those that stand in all of them. Friedman's test asks whether any differ,
    Nemenyi's which, as Demšar 2006 (JMLR 7) has it; tables are taken for independent draws, and which seeds a rank
    came from is not looked at.
    """
    standing = {title: {name for name, rank in table.items() if rank is not None} for title, table in tables.items()}
    everyone = sorted(set().union(*(table.keys() for table in tables.values())))
    names = [name for name in everyone if all(name in some for some in standing.values())]
    left_out = {
        name: [title for title, some in standing.items() if name not in some] for name in everyone if name not in names
    }
    if not names:
        return Summary(list(tables), {}, left_out, note="no row stands in every table")
    ranks = np.array([mean_ranks([table[name] for name in names]) for table in tables.values()])
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    names, ranks = [names[place] for place in order], ranks[:, order]
    means = dict(zip(names, ranks.mean(axis=0).tolist(), strict=True))
    (n, k), untested = ranks.shape, Summary(list(tables), means, left_out)
    if n < 2 or k < 3:
        return _said(untested, f"a test takes 2 tables and 3 rows, these are {n} and {k}")
    if (ranks == ranks[:, :1]).all():
        return _said(untested, "no test: all rows tie in every table")
    return _tested(untested, ranks)


def _tested(summary: Summary, ranks: Floats) -> Summary:
    from scipy.stats import friedmanchisquare  # takes a second to import

    n, k = ranks.shape
    found = friedmanchisquare(*ranks.T)
    statistic, p, difference = float(found.statistic), float(found.pvalue), critical_difference(k, n)
    names, means = list(summary.ranks), list(summary.ranks.values())
    cliques = _cliques(means, difference) if p <= LEVEL else [range(k)]
    notes = [] if p <= LEVEL else [f"no difference is shown (Friedman's test, p = {p:.2g})"]
    notes += [f"{n} tables are few: p is approximate"] if n < FEW_TABLES else []
    groups = [[names[place] for place in clique] for clique in cliques]
    return Summary(summary.tables, summary.ranks, summary.left_out, statistic, p, difference, groups, "; ".join(notes))


def _said(summary: Summary, note: str) -> Summary:
    return Summary(summary.tables, summary.ranks, summary.left_out, note=note)


def critical_difference(k: int, n: int) -> float:
    """Return the least difference of two of `k` mean ranks over `n` tables that Nemenyi's test tells apart."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - LEVEL, k, np.inf)) / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5


def _cliques(means: Sequence[float], difference: float) -> list[range]:
    """Return the largest runs of mean ranks, in order, whose ends are nearer than the critical difference."""
    found: list[range] = []
    for start, first in enumerate(means):
        end = max(place for place, mean in enumerate(means) if mean - first < difference) + 1
        if end - start > 1 and (not found or end > found[-1].stop):
            found.append(range(start, end))
    return found
