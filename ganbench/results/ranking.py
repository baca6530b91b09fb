"""Ranks of the rows of one table in one column, and which of them can be told apart. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ganbench.results.rows import Row
from ganbench.results.statistics import Score


@dataclass(frozen=True)
class Standing:
    """Where one row stands in one column.

    `rank`: 1 is best, ties share the mean rank; None where it cannot be ranked (a control, a stale row, a column
    without a direction, no value). `letters`: rows that share one cannot be told apart; nothing where no test is
    possible. `best`: may be bold. `counted_worst`: seeds that count at the bad end (diverged, failed, undefined).
    """

    rank: float | None = None
    letters: str = ""
    best: bool = False
    counted_worst: int = 0


@dataclass(frozen=True)
class Ranking:
    """Where every row stands, in the order given, and what a reader must know of how that was found."""

    standings: Sequence[Standing]
    note: str = ""


def rank_rows(rows: Sequence[Row], scores: Sequence[Score | None]) -> Ranking:
    """Rank the rows of one table by their scores of one metric under one protocol, in the order given."""
    raise NotImplementedError
