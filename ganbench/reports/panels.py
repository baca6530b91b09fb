"""What a figure shows: a panel for each table, its rows in their order under short names. Imports no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ganbench.errors import UserError, brief, suggestion
from ganbench.reports.asked import Asked
from ganbench.reports.cells import count_cell, real_cell
from ganbench.reports.grid import Column, columns_of, order_of
from ganbench.reports.labels import labels_of
from ganbench.reports.table import title_of
from ganbench.reports.view import View, headline
from ganbench.results.costs import badness
from ganbench.results.curves import Band, Cost, Curve, bands, costs, curves, is_trace, quantities
from ganbench.results.named import named
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, table_of
from ganbench.results.store import ResultStore

MOST_PANELS = 6
TOLD_APART = 14
"""So many rows can be told apart in one figure, by colour and stroke."""
SHOWN = 7
"""Of more rows so many are shown in colour, those that are best."""
LARGEST = 1e100
"""Beyond it an axis has no room for other numbers: what is so large counts as infinite."""
LONGEST = 30
"""Labels of more characters have letters for their options."""
POINTS = 100
"""So many points of a trace can be seen in a column."""


@dataclass(frozen=True)
class Panel:
    """One table in a figure. `labels`: by the name of a row, best first; `sorted_by`: by which metric.

    `column`: the metric at the end of the budget, None of a trace. `real`: what real data score and half the width of
    its interval, where these are known. `letters`: the options that letters in labels stand for. `partial`: how many
    runs came through of how many, by the label of rows of which not all did. `lost`: rows without a point, of which
    none did or whose number is too large.
    """

    title: str
    labels: Mapping[str, str]
    sorted_by: str
    column: Column | None
    curves: Sequence[Curve] = ()
    bands: Sequence[Band] = ()
    costs: Sequence[Cost] = ()
    real: tuple[float, float | None] | None = None
    letters: Mapping[str, str] = field(default_factory=dict)
    partial: Mapping[str, str] = field(default_factory=dict)
    lost: Sequence[str] = ()


def panels_of(store: ResultStore, records: Sequence[RunRecord], asked: Asked) -> list[Panel]:
    """Return a panel for each table that has the quantity. Raises `UserError` where there is nothing to draw."""
    tables: dict[Any, list[RunRecord]] = {}
    for record in records:
        tables.setdefault(table_of(record.spec), []).append(record)
    drawn = [one for of_table in tables.values() if (one := _drawn(store, of_table, asked))]
    if not drawn:
        raise UserError(_nothing(store, records, asked))
    if len(drawn) > MOST_PANELS:
        names = brief("; ".join(sorted(title_of(one.pairs[0][1].spec) for one in drawn)), 600)
        raise UserError(
            f"{len(drawn)} comparisons have {brief(asked.quantity)}, and a figure holds {MOST_PANELS}: choose with "
            f"--dataset or --where; there are {names}"
        )
    if not asked.cost and all(len(curve.x) < 2 for one in drawn for curve in one.curves):
        raise UserError(
            f"{brief(asked.quantity)} was measured once in each run, so there is no curve: draw it against what "
            "training took with --cost flops, or name --marks in `ganbench run`"
        )
    labels, letters = _labels([pair for one in drawn for pair in one.pairs])
    titles, found = _titles(drawn), []
    for one, name in zip(drawn, titles, strict=True):
        mine = {name: labels[table_of(row.spec), name] for name, row in one.pairs}
        found.append(_panel(one, name, mine, letters))
    if asked.is_log and not any(y > 0 for panel in found for line in drawn_of(panel, asked) for y in line):
        raise UserError(f"{brief(asked.quantity)} is nowhere above 0, so a logarithmic axis has no place for it")
    return sorted(found, key=lambda panel: panel.title)


def drawn_of(panel: Panel, asked: Asked) -> list[Sequence[float]]:
    """Return the numbers that are drawn, by line."""
    lines = [curve.y for curve in panel.curves if asked.runs or curve.ended]
    means = [] if asked.runs else [band.mean for band in panel.bands]
    return [*lines, *means, [cost.value for cost in panel.costs]]


@dataclass(frozen=True)
class _Drawn:
    """What is drawn of one table. `everyone`: controls too, which tell what real data score."""

    pairs: Sequence[tuple[str, Row]]
    everyone: Sequence[Row]
    metric: str
    protocol: str
    curves: Sequence[Curve]
    costs: Sequence[Cost]
    lost: Sequence[str]


def _titles(drawn: Sequence[_Drawn]) -> list[str]:
    """Name what the rows of each panel share; the content of data sets where that alone tells two of them apart."""
    specs = [one.pairs[0][1].spec for one in drawn]
    plain, titles = [title_of(spec) for spec in specs], []
    for one, spec, text in zip(drawn, specs, plain, strict=True):
        data = f", data {spec.data[:8] or 'unknown'}" if plain.count(text) > 1 else ""
        older = spec.is_stale and len({row.spec.numbers for _, row in one.pairs}) == 1
        titles.append(text + data + (f", numbers {spec.numbers}" if older else ""))
    return titles


def _drawn(store: ResultStore, records: Sequence[RunRecord], asked: Asked) -> _Drawn | None:
    lines = [] if asked.cost else curves(store, records, asked.quantity, asked.over, points=POINTS)
    lines = [replace(curve, y=list(map(_drawable, curve.y))) for curve in lines]
    points = costs(records, asked.quantity, asked.over) if asked.cost else []
    points = [cost for cost in points if math.isfinite(_drawable(cost.value))]
    if not any(curve.x for curve in lines) and not points:
        return None
    rows = named(records, asked.over)
    there = {curve.row for curve in lines} | {cost.row for cost in points}
    protocol = lines[0].protocol if lines else points[0].protocol
    metric = "" if is_trace(asked.quantity) else asked.quantity
    others = [(name, row) for name, row in rows if asked.cost and name not in there and not row.is_control]
    lost = [name for name, row in others if metric in row.scores or row.diverged + row.failed == len(row.runs)]
    shown, everyone = [pair for pair in rows if pair[0] in there], [row for _, row in rows]
    return _Drawn(shown, everyone, metric, protocol, lines, points, lost)


def _drawable(number: float) -> float:
    return math.copysign(math.inf, number) if abs(number) > LARGEST else number


def _panel(one: _Drawn, title: str, labels: Mapping[str, str], letters: Mapping[str, str]) -> Panel:
    column = _column(one, one.everyone)
    rows = [row for _, row in one.pairs]
    own = _column(one, rows, ranked=True)
    by = one.metric if own and badness(own.any) is not None else next(iter(headline(rows)), "")
    order = order_of(rows, [own] if own and by == one.metric else [], View(sort=by))
    names = [one.pairs[index][0] for index in order]
    first = {cost.row for cost in one.costs if cost.on_front}
    names.sort(key=lambda name: name not in first)
    best_first = {name: labels[name] for name in names}
    used = {text: told for text, told in letters.items() if any(f"({text})" in label for label in labels.values())}
    partial = {labels[name]: count_cell(row).text for name, row in one.pairs if row.done < len(row.runs)}
    drawn = one.curves, bands(one.curves), one.costs
    return Panel(title, best_first, by, column, *drawn, _real(column), used, partial, one.lost)


def _column(one: _Drawn, rows: Sequence[Row], *, ranked: bool = False) -> Column | None:
    columns = columns_of(rows, [one.metric], ranked=ranked) if one.metric else []
    return next((column for column in columns if column.protocol == one.protocol), None)


def _labels(pairs: Sequence[tuple[str, Row]]) -> tuple[dict[tuple[Any, str], str], dict[str, str]]:
    """Return short names, by table and name, and what letters in them stand for.

    They are without the options that all rows share, and where they would be long with a letter for the others.
    """
    labels, _ = labels_of([row for _, row in pairs])
    long = any(len(label.name) > LONGEST for label in labels)
    found = {}
    for (name, row), label in zip(pairs, labels, strict=True):
        plain = label.name.removesuffix(label.options).rstrip() if long else label.name
        letter = f" ({label.letter})" if long and label.letter else ""
        found[table_of(row.spec), name] = brief(plain, 2 * LONGEST) + letter + name[len(row.name) :]
    return found, {label.letter: label.options for label in labels if long and label.letter}


def _real(column: Column | None) -> tuple[float, float | None] | None:
    references = [score.reference for score in column.scores if score] if column else []
    known = [reference for reference in references if reference is not None and math.isfinite(reference)]
    if column is None or not known:
        return None
    cell = real_cell(column)
    return cell.number or (known[0], None)  # one that is exact has no interval


def _nothing(store: ResultStore, records: Sequence[RunRecord], asked: Asked) -> str:
    known = quantities(records) if asked.cost else quantities(records, store)
    if asked.quantity in known:
        return f"no trained run here has {brief(asked.quantity)} over {asked.over}"
    if asked.cost and is_trace(asked.quantity):
        return f"{brief(asked.quantity)} is a trace, and --cost is of metrics: leave it out, or name a metric"
    there = brief(", ".join(known), 600) or "nothing"
    return f"no result has {brief(asked.quantity)}{suggestion(asked.quantity, known)}; there is {there}"


def coloured(panels: Sequence[Panel]) -> list[str]:
    """Return the labels that are told apart, best first on average: of too many those that most panels have."""
    places: dict[str, list[int]] = {}
    for panel in panels:
        for place, label in enumerate(dict.fromkeys(panel.labels.values())):
            places.setdefault(label, []).append(place)
    mean = {label: sum(of) / len(of) for label, of in places.items()}
    shown = list(places)
    if len(shown) > TOLD_APART:
        shown = sorted(shown, key=lambda label: (-len(places[label]), mean[label]))[:SHOWN]
    return sorted(shown, key=lambda label: mean[label])
