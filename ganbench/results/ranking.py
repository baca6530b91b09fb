"""Ranks of the rows of one table in one column, and which of them can be told apart. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganbench.contract.types import Value
from ganbench.results.letters import display
from ganbench.results.paired import Floats, Pairs, compare, fewest_seeds, holm, mean_ranks
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, undefined
from ganbench.results.statistics import Score, mean_of

LEVEL = 0.05


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


@dataclass(frozen=True)
class Scale:
    """How far from best a value is. `reference`: where best is what real data score, else `higher` decides.

    `worst`: how bad a seed is that has no value.
    """

    higher: bool
    reference: float | None
    worst: float = math.inf

    def badness(self, value: Value) -> float:
        """Return a number that is the smaller the better."""
        if self.reference is not None:
            return abs(value.value - (self.reference if value.reference is None else value.reference))
        return -value.value if self.higher else value.value


def rank_rows(rows: Sequence[Row], scores: Sequence[Score | None]) -> Ranking:
    """Rank the rows of one table by their scores of one metric under one protocol, in the order given.

    Rows are ranked by their mean over seeds. A seed that diverged, failed or has no defined value counts as the
    metric's `worst`, or where there is no such end as worse than every number; one that is open or was not made is
    missing. Where real data are best, means are of each seed's distance to them. All pairs are tested by the seeds
    that both rows have (`paired.compare`), with Holm's correction. Bold is a row without a missing or bad seed that is
    told apart from every row that the first is told apart from, if there is one: not a row that only varies too much
    to be told from the first. Controls and rows of other numbers than today's take no part.
    """
    standings = [Standing()] * len(rows)
    scale, metric = _scale(scores), next((score.metric for score in scores if score), "")
    if scale is None:
        return Ranking(standings)
    trained = [place for place, row in enumerate(rows) if not row.is_control and not row.spec.is_stale]
    measured = {place: _by_seed(rows[place], scores[place], scale, metric) for place in trained}
    ranked = sorted((place for place in trained if measured[place]), key=lambda place: _key(measured[place].values()))
    if not ranked:
        return Ranking(standings)
    seeds = sorted(set().union(*(rows[place].seeds | {run.spec.seed for run in rows[place].runs} for place in trained)))
    badness = np.array([[measured[place].get(seed, math.nan) for seed in seeds] for place in ranked])
    ranks = _ranks([_key(measured[place].values()) for place in ranked])
    letters, firsts, note = _tested(badness, ranks)
    for index, place in enumerate(ranked):
        bad = sum(_is_bad(run, rows[place], scores[place], metric) for run in rows[place].runs)
        whole = not bad and len(measured[place]) == len(seeds)
        standings[place] = Standing(ranks[index], letters[index], firsts[index] and whole, bad)
    if any(standing.letters for standing in standings) and not any(standing.best for standing in standings):
        note += "; nothing is clearly best"
    if bad := sum(standing.counted_worst for standing in standings):
        note += f"{'; ' if note else ''}{_number(bad, 'seed')} that diverged, failed or came to no value count as worst"
    return Ranking(standings, note)


def _tested(badness: Floats, ranks: Sequence[float]) -> tuple[list[str], list[bool], str]:
    """Test rows, best first; return their letters, which are told apart from whatever the first is, and a note."""
    k, most = len(badness), int((~np.isnan(badness)).sum(axis=1).max())
    fewest = fewest_seeds(k)
    letters, firsts = [""] * k, [False] * k
    pairs = compare(badness, fewest) if most >= fewest else None  # of single runs there may be too many
    if pairs is None or np.isnan(pairs.p).all():
        few = f"n={_number(most, 'seed')}: too few to test {k} rows, which takes {fewest}; ranked by mean, nothing bold"
        return letters, firsts, few if k > 1 else ""
    apart = _apart(pairs)
    counts = pairs.shared[np.triu(~np.isnan(pairs.p), 1)]
    n = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    by_ranks = f" ({pairs.by_ranks} by signed ranks)" if pairs.by_ranks else ""
    note = f"paired t-tests over {n} seeds, Holm's correction for {_number(len(counts), 'pair')}{by_ranks}: "
    letters, firsts = _letters(pairs, apart), _firsts(apart, ranks)
    if not any(letters):
        return letters, firsts, f"{note}more groups than letters"
    return letters, firsts, f"{note}rows that share a letter cannot be told apart at {100 * LEVEL:g} %"


def _scale(scores: Sequence[Score | None]) -> Scale | None:
    """Return the scale of a column; None where nothing says what is better."""
    values = [value for score in scores if score for value in score.by_seed.values()]
    reference = mean_of(value.reference for value in values) if any(value.near_reference for value in values) else None
    directions = {value.higher_is_better for value in values}
    if not values or (reference is None and (len(directions) > 1 or None in directions)):
        return None
    scale = Scale(directions == {True}, reference)
    if (worst := next((value.worst for value in values if value.worst is not None), None)) is None:
        return scale
    # Nobody who has a value is to come out worse than who has none, whatever the metric says its end is.
    return replace(scale, worst=max(scale.badness(Value(worst)), *map(scale.badness, values)))


def _by_seed(row: Row, score: Score | None, scale: Scale, metric: str) -> dict[int, float]:
    """Return how bad each seed is; those that are missing are not there, nor any where the metric was not asked for."""
    if score is None and any(run.status == "done" and undefined(run, metric, row.weights) is None for run in row.runs):
        return {}
    found = {seed: scale.badness(value) for seed, value in score.by_seed.items()} if score else {}
    return found | {run.spec.seed: scale.worst for run in row.runs if _is_bad(run, row, score, metric)}


def _is_bad(run: RunRecord, row: Row, score: Score | None, metric: str) -> bool:
    """Whether a run counts at the bad end: it did not come through, or its value is not defined."""
    if run.status != "done":
        return not run.is_open
    has_value = score is not None and run.spec.seed in score.by_seed
    return not has_value and undefined(run, metric, row.weights) is not None


def _key(badness: Iterable[float]) -> tuple[float, float]:
    """Return what rows are ordered by: how many of their seeds are infinitely bad, and the mean of the others."""
    numbers = list(badness)
    finite = [number for number in numbers if math.isfinite(number)]
    return 1 - len(finite) / len(numbers), mean_of(finite) or 0.0


def _ranks(keys: Sequence[tuple[float, float]]) -> list[float]:
    """Return ranks of what is in order; equals share the mean of theirs."""
    first: dict[tuple[float, float], int] = {}
    return mean_ranks([first.setdefault(key, index) for index, key in enumerate(keys)]).tolist()


def _apart(pairs: Pairs) -> NDArray[np.bool_]:
    """Return which pairs are told apart."""
    upper = np.triu_indices(len(pairs.p), 1)
    p = pairs.p[upper]
    apart, tested = np.zeros(pairs.p.shape, bool), ~np.isnan(p)
    rejected = np.zeros(len(p), bool)
    rejected[tested] = holm(p[tested]) <= LEVEL
    apart[upper] = rejected
    return apart | apart.T


def _letters(pairs: Pairs, apart: NDArray[np.bool_]) -> list[str]:
    """Return the letters of rows, nothing for a row without a test, and for all where the alphabet ends."""
    tested = np.flatnonzero((~np.isnan(pairs.p)).any(axis=1))
    near = np.packbits(~apart[np.ix_(tested, tested)], axis=1, bitorder="little")
    letters, shown = [""] * len(apart), display([int.from_bytes(row.tobytes(), "little") for row in near])
    for index, text in zip(tested, shown or [], strict=False):
        letters[index] = text
    return letters


def _firsts(apart: NDArray[np.bool_], ranks: Sequence[float]) -> list[bool]:
    """Return which rows are told apart from all that those of the first rank are told apart from, if there are any."""
    others = apart[[rank == ranks[0] for rank in ranks]].all(axis=0)
    clear = np.logical_and(~others, apart[:, others].all(axis=1))
    return [bool(each) and bool(others.any()) for each in clear]


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
