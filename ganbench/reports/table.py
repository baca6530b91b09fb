"""A table as data: its lines, columns and notes in plain text, which `markdown` and `latex` write. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

from ganbench.errors import brief
from ganbench.reports.cells import Cell, count_cell, meter_cell, middle_cell, published_cell, real_cell, score_cell
from ganbench.reports.grid import Column, columns_of, heading, order_of, several
from ganbench.reports.labels import Label, labels_of
from ganbench.reports.legend import legend, too_few, whole
from ganbench.reports.notes import caption, notes_of
from ganbench.reports.view import View, chosen, metrics_of
from ganbench.results.record import RunSpec
from ganbench.results.rows import Row

WIDTH = 100
"""A table that a reader did not choose the columns of is at most so wide, as text."""
FEW = "§"
"""Marks a column whose number of samples is below the width of its features."""
TITLES = {"d-updates": "D updates", "g-updates": "G updates", "flops": "FLOPs"}
Kind = Literal["variant", "published", "real"]


@dataclass(frozen=True)
class Line:
    """A line of the table: a row, what was published of it, or real data."""

    kind: Kind
    label: str
    index: int = 0


@dataclass(frozen=True)
class Drawn:
    """A column as it is shown: a cell for each line. `name`: what `--columns` calls it; `column`: its metric's."""

    name: str
    head: str
    cells: Sequence[Cell]
    kind: Literal["count", "metric", "middle", "meter"] = "metric"
    column: Column | None = None

    @cached_property
    def width(self) -> int:
        """Characters of its widest cell, as Markdown."""
        marks = max((len(cell.mark) + 1 for cell in self.cells if cell.mark), default=0)
        return max(len(self.head), *(len(cell.text.replace(" ± ", "±")) + 4 * cell.bold for cell in self.cells)) + marks


@dataclass(frozen=True)
class Table:
    """All that a reader sees of one comparison. `rows`: those that lines are of, in this order."""

    title: str
    caption: str
    lines: Sequence[Line]
    columns: Sequence[Drawn]
    legend: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)
    first: str = "variant"
    rows: Sequence[Row] = ()


def tables(rows: Sequence[Row], view: View) -> list[Table]:
    """Return a table for each data set, size, backbone, batch size, budget, precision and content of the data.

    `rows` are sorted by these.
    """
    groups = [(key, list(group)) for key, group in groupby(rows, key=lambda row: (title_of(row.spec), row.spec.data))]
    titles = Counter(title for (title, _), _ in groups)
    found = []
    for (title, data), group in groups:
        also = f", data {data[:8] or 'unknown'}" if titles[title] > 1 else ""
        found.append(table(title + also, group, view))
    return found


def title_of(spec: RunSpec) -> str:
    """Name what all rows of a table share."""
    size = f"{spec.size} px, " if spec.size else ""
    preset = f", preset {spec.preset}" if spec.preset else ""
    return f"{spec.dataset}, {size}{spec.backbone}, batch {spec.batch}, {spec.budget}, {spec.precision}{preset}"


def table(title: str, rows: Sequence[Row], view: View) -> Table:
    """Draw one table."""
    metrics, meters = chosen(rows, view)
    columns = columns_of(rows, metrics, ranked=not view.runs)
    order = order_of(rows, columns, view)
    rows, columns = [rows[index] for index in order], [column.arranged(order) for column in columns]
    labels, shared = labels_of(rows)
    lines = _lines(rows, labels, columns)
    drawn = [*_counts(rows, lines, view), *_scores(columns, rows, lines, every=bool(view.columns))]
    drawn += _meters(meters, rows, lines, view)
    left_out: list[str] = []
    if not view.columns:
        drawn, left_out = _fitted(drawn, max(len(line.label) for line in lines), view.sort)
    shown = [column for column in columns if any(each.name == column.metric for each in drawn)]
    also = [f"No room for {', '.join(left_out)}: see --columns all, or name columns"] if left_out else []
    if not view.columns and (hidden := [name for name in metrics_of(rows) if name not in metrics]):
        also.append(f"Also measured: {brief(', '.join(hidden), 300)} (--columns all)")
    notes = notes_of(rows, labels, shown, shared, view, also, _lettered(drawn))
    lines_of_legend = [*(whole(shown) if view.protocols else legend(shown))]
    return Table(title, caption(rows, view.runs), lines, drawn, lines_of_legend, notes, rows=rows)


def _lines(rows: Sequence[Row], labels: Sequence[Label], columns: Sequence[Column]) -> list[Line]:
    lines = []
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        lines.append(Line("variant", label.text, index))
        if row.published:
            lines.append(Line("published", "published", index))
    if any(score and score.reference is not None for column in columns for score in column.scores):
        lines.append(Line("real", "real data"))
    return lines


def _counts(rows: Sequence[Row], lines: Sequence[Line], view: View) -> list[Drawn]:
    """Return what runs there are; where all rows have as many, the caption says it."""
    if view.runs:
        states = ["stopped" if row.runs[0].is_open else row.runs[0].status for row in rows]
        told = {"seed": [str(row.spec.seed) for row in rows], "status": states}
    elif len({(row.done, len(row.runs)) for row in rows}) > 1 or rows[0].done < len(rows[0].runs):
        told = {"runs": [count_cell(row).text for row in rows]}
    else:
        told = {}
    return [
        Drawn(name, name, [Cell(texts[line.index] if line.kind == "variant" else "") for line in lines], "count")
        for name, texts in told.items()
    ]


def _scores(columns: Sequence[Column], rows: Sequence[Row], lines: Sequence[Line], *, every: bool) -> list[Drawn]:
    """Return means, from eight seeds on with interquartile means: of every metric, or of the first alone."""
    protocols, drawn = several(columns), []
    for number, column in enumerate(columns):
        mark = f" {FEW}" if too_few(column) else ""
        head = heading(column, protocols.get(column.metric, ())) + mark
        cells = [_cell(column, rows, line) for line in lines]
        drawn.append(Drawn(column.metric, head, cells, column=column))
        if (number == 0 or every) and any(score and score.iqm is not None for score in column.scores):
            middle = [middle_cell(column.scores[line.index]) if line.kind == "variant" else Cell() for line in lines]
            drawn.append(Drawn(column.metric, f"{column.metric} IQM", middle, "middle"))
    return drawn


def _cell(column: Column, rows: Sequence[Row], line: Line) -> Cell:
    match line.kind:
        case "variant":
            return score_cell(column, line.index)
        case "published":
            return published_cell(rows[line.index], column.metric)
    return real_cell(column)


def _meters(names: Sequence[str], rows: Sequence[Row], lines: Sequence[Line], view: View) -> list[Drawn]:
    """Return what training took; images that are the same for all are in the caption."""
    drawn = []
    for name in names:
        if name == "images" and not view.columns and view.sort != name and _same_images(rows):
            continue
        cells = [meter_cell(rows[line.index], name) if line.kind == "variant" else Cell() for line in lines]
        drawn.append(Drawn(name, TITLES.get(name, name), cells, "meter"))
    return drawn


def _same_images(rows: Sequence[Row]) -> bool:
    served = {row.meters["images"] for row in rows if not row.is_control} - {None}
    return rows[0].spec.budget.unit == "images" or len(served) < 2


def _lettered(drawn: Sequence[Drawn]) -> list[str]:
    return list(dict.fromkeys(column.name for column in drawn if any(cell.mark for cell in column.cells)))


def _fitted(drawn: list[Drawn], first: int, kept: str) -> tuple[list[Drawn], list[str]]:
    """Return as many columns as fit beside a first one, and the headings of the others.

    Letters beyond the first metric go first, then interquartile means, then second digits of intervals, then meters.
    If that is not enough, intervals keep their digits and metrics go from the right. `kept`: what rows are sorted by.
    """
    if _total(drawn, first) <= WIDTH:
        return drawn, []
    metric = next((number for number, column in enumerate(drawn) if column.kind == "metric"), 0)
    plain = [each if number <= metric else _unmarked(each) for number, each in enumerate(drawn)]
    alone = [each for each in plain if each.kind != "middle"]
    bare = [each for each in alone if each.kind != "meter" or each.name == kept]
    for some in (plain, alone, [_shortened(each) for each in alone], bare, [_shortened(each) for each in bare]):
        if _total(some, first) <= WIDTH:
            return some, _missing(drawn, some)
    metrics = [each for each in bare if each.kind == "metric" and each.name != kept]
    while _total(bare, first) > WIDTH and len(metrics) > (not kept):  # one column stays
        bare.remove(metrics.pop())
    return bare, _missing(drawn, bare)


def _missing(drawn: Sequence[Drawn], shown: Sequence[Drawn]) -> list[str]:
    there = {column.head for column in shown}
    return [column.head for column in drawn if column.head not in there]


def _unmarked(column: Drawn) -> Drawn:
    return replace(column, cells=[replace(cell, mark="") for cell in column.cells])


def _shortened(column: Drawn) -> Drawn:
    return replace(column, cells=[cell.shortened for cell in column.cells])


def _total(drawn: Sequence[Drawn], first: int) -> int:
    return first + 4 + sum(max(3, column.width) + 3 for column in drawn)
