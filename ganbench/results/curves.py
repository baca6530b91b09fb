"""What runs came to on their way: metrics at their marks and traces of training, as tidy curves. Imports no torch."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.along import OVER as OVER, Over as Over, along, amount, thinned
from ganbench.results.costs import Cost as Cost, costs as costs
from ganbench.results.named import named
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, table_of
from ganbench.results.statistics import mean_with_interval
from ganbench.results.store import ResultStore
from ganbench.training.budget import Meters

KINDS = ("loss", "grad_norm", "log")
"""How the names of traces begin: `loss/D`, `grad_norm/G`, `log/k`."""
WORSE = 2.0
"""A run has collapsed where a metric becomes so many times as bad as it was at its best, and stays so."""


@dataclass(frozen=True)
class Curve:
    """One quantity along one run.

    `row`: the name of its row, which no other row of its `table` has. `y` may hold NaN and infinity, where training
    did; a run that has nothing of what its row has is an empty curve. `ended`: empty where the run came through, else
    `diverged`, `error`, `killed`, or `stopped` where it goes on or can; `until`: where on `x` that was. `at`: which
    points of several seeds belong together: shares of the budget for marks, numbers of updates for traces. `protocol`:
    what a metric was measured by.
    """

    row: str
    options: str
    seed: int
    x: list[float]
    y: list[float]
    ended: str
    until: float
    at: list[float]
    table: tuple[Any, ...] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Band:
    """The mean of a row over the seeds that came through, with its 95 % Student-t interval as in the table.

    `n`: of how many seeds each point is; `low` and `high` are None where these are fewer than two, or no numbers.
    `runs`: how many runs the row has, with those that failed.
    """

    row: str
    options: str
    x: list[float]
    mean: list[float]
    low: list[float | None]
    high: list[float | None]
    n: list[int]
    runs: int
    table: tuple[Any, ...] = ()


def is_trace(quantity: str) -> bool:
    """Whether a quantity is traced at every update, and no metric of marks."""
    return quantity.partition("/")[0] in KINDS and "/" in quantity


def quantities(records: Iterable[RunRecord], store: ResultStore | None = None) -> list[str]:
    """Return what can be drawn: the metrics, and where the store of the records is given, their traces."""
    records = list(records)
    metrics = {name for run in records for name in (*run.values, *(each for mark in run.curve for each in mark.values))}
    traced = {name for run in records for name in traces_of(store, run)} if store else set()
    return [*sorted(metrics), *sorted(filter(is_trace, traced))]


def traces_of(store: ResultStore, run: RunRecord) -> Mapping[str, np.ndarray]:
    """Return the traces of a run; where they cannot be used, warn and return none."""
    try:
        return store.traces(run)
    except UserError as error:
        warnings.warn(f"{error}; they are left out", stacklevel=2)
        return {}


def curves(
    store: ResultStore, records: Sequence[RunRecord], quantity: str, over: Over = "images", *, points: int = 200
) -> list[Curve]:
    """Return one quantity of every run that has it, in the order of rows and seeds; what is not trained has none.

    `records` hold their curves, as those of `ResultStore.records` do. A trace has at most so many `points`, each the
    mean of as many updates, which is NaN or infinite where one of these is. Of a metric that was measured under several
    protocols, each table has the one with marks, and of several of those the one that was measured last.
    """
    if is_trace(quantity):
        return list(_traced(store, records, quantity, over, points))
    return list(_marked(records, quantity, over))


def _marked(records: Sequence[RunRecord], metric: str, over: Over) -> Iterator[Curve]:
    trained = [(name, row) for name, row in named(records, over) if not row.is_control]
    found = [(name, row, [_points(run, metric, row.weights) for run in row.runs]) for name, row in trained]
    drawn = _drawn((row, points) for _, row, points in found)
    for name, row, of_runs in found:
        protocol = drawn.get(table_of(row.spec), "")
        mine = [[point for point in points if point.value.protocol_hash == protocol] for points in of_runs]
        failed = all(run.status != "done" and not run.is_open for run in row.runs)
        for run, points in zip(row.runs, mine, strict=True):
            until, x = amount(run.meters, over), [amount(point.meters, over) for point in points]
            if until is not None and None not in x and (failed or any(mine)):
                way = [each for each in x if each is not None], [point.value.value for point in points]
                yield _curve(name, row, run, until, way, [point.share for point in points], protocol)


class _Point(NamedTuple):
    share: float
    meters: Meters
    value: Value


def _points(run: RunRecord, metric: str, weights: str) -> list[_Point]:
    """Return what a run scored at its marks, and at its end what was asked for later, by all protocols."""

    def fits(value: Value | None) -> bool:
        return value is not None and (not weights or value.weights in ("", weights))

    marks = [(mark, next(filter(fits, (mark.values.get(metric), mark.raw.get(metric))), None)) for mark in run.curve]
    points = [_Point(mark.share, mark.meters, value) for mark, value in marks if value is not None]
    ended = {point.value.protocol_hash for point in points if point.share >= 1}
    later = [value for value in run.values.get(metric, ()) if fits(value) and value.protocol_hash not in ended]
    return points + [_Point(1.0, run.meters, value) for value in later if run.status == "done"]


def _drawn(found: Iterable[tuple[Row, Sequence[Sequence[_Point]]]]) -> dict[tuple[Any, ...], str]:
    """Return which protocol each table has curves of."""
    known: dict[tuple[Any, ...], dict[str, tuple[bool, str]]] = {}
    for row, of_runs in found:
        of_table = known.setdefault(table_of(row.spec), {})
        for run, points in zip(row.runs, of_runs, strict=True):
            for protocol, number in Counter(point.value.protocol_hash for point in points).items():
                of_table[protocol] = max(of_table.get(protocol, (False, "")), (number > 1, run.made))
    return {table: max(sorted(of), key=of.__getitem__) for table, of in known.items() if of}


def _traced(store: ResultStore, records: Sequence[RunRecord], name: str, over: Over, points: int) -> Iterator[Curve]:
    seen: set[str] = set()
    for label, row in named(records, over):
        runs = [run for run in row.runs if run.spec.id not in seen]  # sampled with two kinds of weights, trained once
        seen.update(run.spec.id for run in runs)
        traces = [traces_of(store, run).get(name, np.empty(0)) for run in runs]
        longest = max(map(len, traces), default=0)
        width = -(-longest // points)
        for run, trace in zip(runs, traces, strict=True):
            until, spent = amount(run.meters, over), along(name, len(trace), run, over)
            if longest and until is not None and spent is not None:
                at = [float(number) for number in range(0, len(trace), width)]
                yield _curve(label, row, run, until, (thinned(spent, width), thinned(trace, width)), at)


def _curve(
    name: str,
    row: Row,
    run: RunRecord,
    until: float,
    way: tuple[list[float], list[float]],
    at: list[float],
    protocol: str = "",
) -> Curve:
    ended = "" if run.status == "done" else "stopped" if run.is_open else run.status
    return Curve(name, row.options, run.spec.seed, *way, ended, until, at, table_of(row.spec), protocol)


def collapse(y: Sequence[float], *, higher_is_better: bool) -> int | None:
    """Return from which point on a metric stays at least `WORSE` times as bad as the best before, None if it does not.

    A metric that is not above zero cannot be so many times as bad, nor can one be said to be where it is no number.
    """
    if not all(math.isfinite(value) and value >= 0 for value in y):
        return None
    bad = [(1 / value if value else math.inf) if higher_is_better else value for value in y]
    found, best = None, math.inf
    for place, value in enumerate(bad):
        fell = 0 < best < math.inf and value >= WORSE * best
        found = (place if found is None else found) if fell else None
        best = min(best, value)
    return found


def bands(curves: Iterable[Curve]) -> list[Band]:
    """Return a band for each row of which a run came through, in the order of the curves."""
    groups: dict[tuple[Any, ...], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.table, curve.row, curve.protocol), []).append(curve)
    return [_band(group) for group in groups.values() if any(not curve.ended for curve in group)]


def _band(group: Sequence[Curve]) -> Band:
    whole = [curve for curve in group if not curve.ended]
    points = [dict(zip(curve.at, zip(curve.x, curve.y, strict=True), strict=True)) for curve in whole]
    places = sorted({at for curve in whole for at in curve.at})
    there = [{curve.seed: each[at] for curve, each in zip(whole, points, strict=True) if at in each} for at in places]
    middles = [mean_with_interval([y for _, y in each.values()]) for each in there]
    return Band(
        group[0].row,
        group[0].options,
        [sum(x / len(each) for x, _ in each.values()) for each in there],
        [mean for mean, _ in middles],
        [None if half is None else mean - half for mean, half in middles],
        [None if half is None else mean + half for mean, half in middles],
        [len(each) for each in there],
        len(group),
        group[0].table,
    )
