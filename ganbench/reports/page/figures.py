"""Curves, bands and costs of one table as plain numbers that the page's script draws. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from ganbench.contract.types import CONTROL
from ganbench.reports.grid import ARROW
from ganbench.reports.table import Table
from ganbench.results.along import Over
from ganbench.results.costs import Cost, costs
from ganbench.results.curves import Band, Curve, bands, collapse, curves, is_trace, quantities
from ganbench.results.named import named
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore

OVER: tuple[Over, ...] = ("images", "updates", "seconds")
COSTS: tuple[Over, ...] = get_args(Over)
POINTS, MOST_NUMBERS = 120, 200_000
"""A trace has at most so many points on a page, and all of them together about so many."""
DIGITS = 4
"""Significant digits of what is drawn."""


@dataclass
class Pool:
    """Lists of numbers, each held once; others name one by its place."""

    lists: list[list[float | None]] = field(default_factory=list)
    places: dict[tuple[float | None, ...], int] = field(default_factory=dict)

    def add(self, numbers: Iterable[float | None]) -> int:
        """Return the place of a list, its numbers rounded; what is none stands as None."""
        rounded = shortened(numbers)
        key = tuple(rounded)
        if key not in self.places:
            self.places[key] = len(self.lists)
            self.lists.append(rounded)
        return self.places[key]


def shortened(numbers: Iterable[float | None]) -> list[float | None]:
    """Round to the digits that can be seen; NaN, infinity and None are None."""
    exact = np.array([math.nan if each is None else each for each in numbers], np.float64)
    finite = np.isfinite(exact)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = np.floor(np.log10(np.abs(exact))) - (DIGITS - 1)
        unit = 10.0 ** np.abs(np.where(np.isfinite(places), places, 0))  # whole, so that what is divided is exact
        rounded = np.where(places < 0, np.round(exact * unit) / unit, np.round(exact / unit) * unit)
    rounded = np.where(finite & ~np.isfinite(rounded), exact, rounded)
    whole = finite.all() and (rounded == np.round(rounded)).all() and (np.abs(rounded) < 2**53).all()
    values: list[float] = (rounded.astype(np.int64) if whole else rounded).tolist()  # an int is written shorter
    return [value if there else None for value, there in zip(values, finite.tolist(), strict=True)]


def short(number: float | None) -> float | None:
    """Round one number so."""
    return shortened([number])[0]


def figures_of(table: Table, names: Sequence[str], store: ResultStore, points: int) -> dict[str, Any]:
    """Return all that can be drawn of the rows of a table, as plain values. `names`: those of its rows."""
    records = list({run.spec.id: run for row in table.rows for run in row.runs}.values())
    trained = [run for run in records if run.variant.get("family") != CONTROL]
    pool, facts = Pool(), _facts(table)
    drawn: dict[str, dict[str, Any]] = {}
    of_rows = {over: _rows_of(table, trained, over) for over in COSTS}
    for quantity in quantities(trained, store):
        found = {over: curves(store, trained, quantity, over, points=points) for over in OVER}
        if any(found.values()):
            drawn[quantity] = _drawn(found, of_rows, pool, facts.get(quantity, {}).get("arrow", ""))
    metrics = [quantity for quantity in drawn if not is_trace(quantity)]
    ranked = [name for name, of in facts.items() if of["arrow"]]
    spent = {name: {over: _costs(costs(trained, name, over), of_rows[over]) for over in COSTS} for name in ranked}
    first = [name for name in facts if name in metrics]
    return {
        "rows": [{"name": name, "group": group_of(table, index)} for index, name in enumerate(names)],
        "quantities": {name: facts.get(name, {}) for name in [*first, *(name for name in drawn if name not in first)]},
        "curves": drawn,
        "costs": {name: of for name, of in spent.items() if any(of.values())},
        "pool": pool.lists,
    }


def group_of(table: Table, index: int) -> int:
    """Return where a row stands however the table is sorted: 0 before runs of before, 1, and these before controls."""
    row = table.rows[index]
    return 2 if row.is_control else int(row.spec.is_stale)


def points_for(runs: int, traces: int = 6) -> int:
    """Return how many points a trace may have where there are so many runs."""
    return max(20, min(POINTS, MOST_NUMBERS // max(1, runs * traces)))


def _facts(table: Table) -> dict[str, dict[str, Any]]:
    """Return by metric, in the order of the columns, which direction is better and what real data score."""
    found: dict[str, dict[str, Any]] = {}
    for drawn in table.columns:
        if drawn.kind == "metric" and drawn.column and drawn.name not in found:
            references = (score.reference for score in drawn.column.scores if score)
            real = next((each for each in references if each is not None), None)
            found[drawn.name] = {"arrow": ARROW[drawn.column.direction], "real": short(real)}
    return found


def _rows_of(table: Table, records: Sequence[RunRecord], over: Over) -> dict[str, int]:
    """Return the places of rows by the names that curves give them."""
    exact, of_run = dict[tuple[str, str], int](), dict[str, int]()
    for index, row in enumerate(table.rows):
        for run in row.runs:
            exact[run.spec.id, row.weights] = index
            of_run.setdefault(run.spec.id, index)
    found = [(name, row.runs[0].spec.id, row.weights) for name, row in named(records, over)]
    return {name: exact.get((run, weights), of_run[run]) for name, run, weights in found}


def _drawn(
    found: Mapping[Over, Sequence[Curve]], rows: Mapping[Over, Mapping[str, int]], pool: Pool, arrow: str
) -> dict[str, Any]:
    """Return bands and runs by what they run over. Numbers are made once where only the way is another."""
    first = next(iter(found.values()))
    middle, heights = bands(first), [pool.add(each.y) for each in first]
    drawn: dict[str, Any] = {}
    for over, some in found.items():
        alike = [_key(each) for each in some] == [_key(each) for each in first]
        y = heights if alike else [pool.add(each.y) for each in some]
        drawn[over] = {
            "bands": [_band(band, rows[over], pool) for band in (_moved(middle, some) if alike else bands(some))],
            "runs": [
                [rows[over][each.row], each.seed, pool.add(each.x), place, each.ended, _collapsed(each, arrow)]
                for each, place in zip(some, y, strict=True)
            ],
        }
    return drawn


def _collapsed(curve: Curve, arrow: str) -> int | None:
    """Return at which point a run collapsed by a metric; by one without a direction none does."""
    return collapse(curve.y, higher_is_better=arrow == ARROW[True]) if arrow else None


def _key(curve: Curve) -> tuple[Any, ...]:
    """Return all that a curve is but for its way."""
    return curve.table, curve.row, curve.seed, curve.at, curve.ended, curve.protocol


def _moved(found: Sequence[Band], along: Sequence[Curve]) -> list[Band]:
    """Return bands over another way: where the same curves had got to on average, at the same points."""
    spent: dict[str, dict[float, list[float]]] = {}
    for curve in along:
        if not curve.ended:
            of_row = spent.setdefault(curve.row, {})
            for at, x in zip(curve.at, curve.x, strict=True):
                of_row.setdefault(at, []).append(x)
    return [replace(band, x=[sum(each) / len(each) for _, each in sorted(spent[band.row].items())]) for band in found]


def _band(band: Band, rows: Mapping[str, int], pool: Pool) -> list[Any]:
    low, high = (pool.add(ends) if any(end is not None for end in ends) else None for ends in (band.low, band.high))
    return [rows[band.row], pool.add(band.x), pool.add(band.mean), low, high]


def _costs(found: Sequence[Cost], rows: Mapping[str, int]) -> list[list[Any]]:
    return [
        [rows[each.row], short(each.cost), short(each.value), short(each.half_width), each.on_front] for each in found
    ]
