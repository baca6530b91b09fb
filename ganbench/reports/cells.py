"""What stands in the cells of a table, as plain text that each format writes its own way."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ganbench.contract.types import Value
from ganbench.reports.grid import Column
from ganbench.reports.view import METERS
from ganbench.reports.words import duration, figure, memory, scaled, thousands
from ganbench.results.published import quoted
from ganbench.results.rows import Row
from ganbench.results.statistics import Score, mean_of

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """`text`: a number as `figure` writes it, or words. `mark`: letters beside it. `number`: with its half-width."""

    text: str = ""
    mark: str = ""
    bold: bool = False
    number: tuple[float, float | None] | None = None

    @property
    def shortened(self) -> Cell:
        """The same where room is scarce."""
        return replace(self, text=figure(*self.number, short=True)) if self.number else self


def score_cell(column: Column, index: int) -> Cell:
    """Return the mean of a row with its interval, bold and letters as it stands in its column."""
    score, standing = column.scores[index], column.standing(index)
    if score is None:
        return Cell(NOTHING)
    return _number(score.mean, score.half_width, standing.letters, bold=standing.best)


def _number(mean: float, half_width: float | None, mark: str = "", *, bold: bool = False) -> Cell:
    return Cell(figure(mean, half_width), mark, bold, (mean, half_width))


def middle_cell(score: Score | None) -> Cell:
    """Return the interquartile mean of a row with its interval, which is not symmetric."""
    if score is None or score.iqm is None:
        return Cell(NOTHING)
    return Cell(ranged(score.iqm, score.iqm_interval))


def ranged(mean: float, interval: tuple[float, float] | None) -> str:
    """Write a number with an interval around it that need not be symmetric."""
    if interval is None:
        return figure(mean)
    digits = figure(mean, (interval[1] - interval[0]) / 2).partition(" ± ")[0]
    decimals = len(digits.partition(".")[2]) if "e" not in digits else None
    low, high = (f"{end:.{decimals}f}" if decimals is not None else f"{end:.3g}" for end in interval)
    return f"{digits} [{low}, {high}]"


def published_cell(row: Row, metric: str) -> Cell:
    """Return a number of the literature with its interval, in brackets the error of which none can be made."""
    said = quoted(row.published, metric)
    if said is None:
        return Cell(NOTHING)
    if (interval := said.interval) is not None:
        return _number(said.value, (interval[1] - interval[0]) / 2)
    return Cell(f"{said.value:g}" + (f" ({said.error:g})" if said.error is not None else ""))


def real_cell(column: Column) -> Cell:
    """Return what real data score: exactly where that is known, else the mean of disjoint draws with its interval."""
    values = [value for score in column.scores if score for value in score.by_seed.values()]
    reference = mean_of(value.reference for value in values)
    if reference is None:
        return Cell(NOTHING)
    if any(value.is_exact for value in values):
        return Cell(f"{figure(reference)} exact")
    draws = next((value.references for value in values if len(value.references) > 1), ())
    drawn = Score(column.metric, {number: Value(draw) for number, draw in enumerate(draws)}) if draws else None
    return _number(reference, drawn.half_width if drawn else None)


def meter_cell(row: Row, name: str) -> Cell:
    """Return what training took."""
    write = {"flops": scaled, "time": duration, "memory": memory}.get(name, thousands)
    return Cell(NOTHING if (amount := row.meters[METERS[name]]) is None else write(amount))


def count_cell(row: Row) -> Cell:
    """Return how many runs count, of how many where some do not."""
    return Cell(str(row.done) if row.done == len(row.runs) else f"{row.done}/{len(row.runs)}")
