"""Rows and columns of one table: which columns there are, in which order rows stand, who ranks where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ganbench.reports.view import METERS, View, headline
from ganbench.results.ranking import Ranking, Standing, rank_rows
from ganbench.results.rows import Row
from ganbench.results.statistics import Score, mean_of

ARROW = {True: "↑", False: "↓", None: ""}
SHORTEST = 4
"""A heading tells protocols apart by at least so many digits."""


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one metric under one protocol, a score or None for each row of a table."""

    metric: str
    protocol: str
    scores: Sequence[Score | None]
    ranking: Ranking | None = None

    @property
    def any(self) -> Score:
        """One of the scores."""
        return next(score for score in self.scores if score)

    @cached_property
    def direction(self) -> bool | None:
        """Which direction is better, where the scores agree on it."""
        directions = {score.higher_is_better for score in self.scores if score}
        return directions.pop() if len(directions) == 1 else None

    @property
    def name(self) -> str:
        """The metric with an arrow to where it is better."""
        return self.metric + ARROW[self.direction]

    def arranged(self, order: Sequence[int]) -> Column:
        """Return the same with rows in another order."""
        ranking = self.ranking
        if ranking:
            ranking = replace(ranking, standings=[ranking.standings[index] for index in order])
        return Column(self.metric, self.protocol, [self.scores[index] for index in order], ranking)

    def standing(self, index: int) -> Standing:
        """Return where a row stands."""
        return self.ranking.standings[index] if self.ranking else Standing()


def columns_of(rows: Sequence[Row], metrics: Iterable[str], *, ranked: bool) -> list[Column]:
    """Return the columns of some metrics; of several protocols the one that was measured last comes first."""
    found = []
    for metric in metrics:
        for protocol in _protocols(rows, metric):
            scores = [_score(row, metric, protocol) for row in rows]
            found.append(Column(metric, protocol, scores, rank_rows(rows, scores) if ranked else None))
    return found


def _protocols(rows: Sequence[Row], metric: str) -> list[str]:
    made: dict[str, str] = {}
    for row in rows:
        for score in row.scores.get(metric, ()):
            last = max((run.made for run in row.scored if run.spec.seed in score.by_seed), default="")
            made[score.protocol_hash] = max(last, made.get(score.protocol_hash, ""))
    return sorted(sorted(made), key=lambda protocol: made[protocol], reverse=True)


def _score(row: Row, metric: str, protocol: str) -> Score | None:
    return next((score for score in row.scores.get(metric, ()) if score.protocol_hash == protocol), None)


def several(columns: Iterable[Column]) -> dict[str, list[str]]:
    """Return the protocols of each metric that was measured under more than one."""
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(column.metric, []).append(column.protocol)
    return {metric: protocols for metric, protocols in found.items() if len(protocols) > 1}


def heading(column: Column, protocols: Sequence[str]) -> str:
    """Return what stands over a column. `protocols`: all of its metric."""
    if len(protocols) < 2:
        return column.name
    digits = next((n for n in range(SHORTEST, 8) if len({each[:n] for each in protocols}) == len(protocols)), 8)
    return f"{column.name} {column.protocol[:digits]}"


def order_of(rows: Sequence[Row], columns: Sequence[Column], view: View) -> list[int]:
    """Put the best first by the metric asked for, else by the first of the table; then runs of before, then controls.

    `rows` are sorted by name, in which those that tie stay. `columns`: those of the table.
    """
    by = view.sort or ("" if view.runs else next(iter(headline(rows)), ""))
    if by in METERS:
        spent = [(math.inf if (amount := row.meters[METERS[by]]) is None else amount) for row in rows]
        keys: list[tuple[Any, ...]] = [(row.is_control, amount) for row, amount in zip(rows, spent, strict=True)]
    elif by in ("", "variant"):
        keys = [(row.is_control,) for row in rows]
    else:
        there = [column for column in columns if column.metric == by]
        there = there or columns_of(rows, [by], ranked=not view.runs)
        keys = [(row.is_control, row.spec.is_stale, *_place(there, index)) for index, row in enumerate(rows)]
    return sorted(range(len(rows)), key=keys.__getitem__)


def _place(columns: Sequence[Column], index: int) -> tuple[float, float, float]:
    for number, column in enumerate(columns):
        rank = column.standing(index).rank
        if (score := column.scores[index]) is not None or rank is not None:
            distance = math.inf if score is None else badness(score)
            return number, math.inf if rank is None else rank, distance
    return len(columns), math.inf, math.inf


def badness(score: Score) -> float:
    """Return how far the mean is from best: from real data where these are, else by its direction."""
    values = list(score.by_seed.values())
    if any(value.near_reference for value in values) and (reference := score.reference) is not None:
        away = [abs(value.value - (reference if value.reference is None else value.reference)) for value in values]
        return mean_of(away) or 0.0
    return -score.mean if score.higher_is_better else score.mean
