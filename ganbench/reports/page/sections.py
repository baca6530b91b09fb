"""One comparison as the page shows it: its table with an order for each column, its legend, its rows' runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganbench.reports.cells import Cell
from ganbench.reports.grid import order_of
from ganbench.reports.labels import labels_of
from ganbench.reports.page.beside import Beside
from ganbench.reports.page.command import command_of
from ganbench.reports.page.logs import Log, logs_in
from ganbench.reports.page.pictures import Shown
from ganbench.reports.table import Drawn, Line, Table
from ganbench.reports.view import View, chosen
from ganbench.reports.words import duration, thousands
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, flatten, last_line, plain

LONGEST = 36
"""Characters of a name in figures."""
MOST = 6
"""So many metrics a table shows at first where nobody says which."""


@dataclass(frozen=True)
class Head:
    """A column's heading. `number`: its place; `shown`: at first; `places`: by row, where it stands best first."""

    number: int
    name: str
    text: str
    kind: str
    shown: bool
    places: Sequence[int]


@dataclass(frozen=True)
class Body:
    """The lines that stay together when a table is sorted: a row, and what was published of it.

    `group`: those of a lower one stand first however it is sorted.
    """

    index: int
    group: int
    name: str
    label: str
    options: str
    lines: Sequence[tuple[Line, Sequence[Cell]]]


@dataclass(frozen=True)
class Explained:
    """A line of the legend, the number of its column, and all facts of its protocol."""

    number: int
    text: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """One run: its record, what made it, what is left of its faults, and how it is made again."""

    record: RunRecord
    state: str
    error: str
    spent: str
    command: str
    logs: Sequence[Log]
    provenance: int
    shown: Shown


@dataclass(frozen=True)
class Section:
    """One comparison. `real`: the cells of real data, nothing where there are none. `runs`: by row."""

    id: str
    table: Table
    heads: Sequence[Head]
    bodies: Sequence[Body]
    real: Sequence[Cell]
    legend: Sequence[Explained]
    runs: Sequence[Sequence[Run]]
    data: Mapping[str, Any]

    @property
    def short(self) -> str:
        """A name for a tab."""
        spec = self.table.rows[0].spec
        return f"{spec.dataset} · {spec.budget}" + (f" · {spec.preset}" if spec.preset else "")

    @property
    def flat(self) -> list[Run]:
        """All runs, each once."""
        return list({run.record.spec.id: run for of in self.runs for run in of}.values())


def tabs(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """Return the ids of sections with their short names, or where several share one, their titles."""
    counts = Counter(section.short for section in sections)
    return [(each.id, each.short if counts[each.short] == 1 else each.table.title) for each in sections]


def left_out(section: Section) -> list[str]:
    """Return why pictures were not made, and of which rows."""
    found: dict[str, dict[str, None]] = {}
    for body in section.bodies:
        for run in section.runs[body.index]:
            for line in run.shown.left_out:
                found.setdefault(line, {})[body.name] = None
    return [f"{line} ({', '.join(names)})" for line, names in found.items()]


def heads_of(table: Table, view: View) -> list[Head]:
    """Return the headings of a table of all columns. `view`: what is asked to be seen of it at first."""
    metrics, meters = chosen(table.rows, view)
    if not view.columns:
        metrics, meters = metrics[:MOST], [name for name in meters if name != "images"]
    wanted = {*metrics, *meters, view.sort}
    return [
        Head(number, each.name, each.head, each.kind, each.kind == "count" or each.name in wanted, _places(table, each))
        for number, each in enumerate(table.columns)
    ]


def _places(table: Table, drawn: Drawn) -> list[int]:
    """Return where each row stands in a table sorted by a column, as `--sort` has it."""
    rows = table.rows
    if drawn.kind == "count":
        order = sorted(range(len(rows)), key=lambda index: -rows[index].done)
    else:
        column = drawn.column or next((c.column for c in table.columns if c.name == drawn.name and c.column), None)
        order = order_of(rows, [column] if column else [], View(sort=drawn.name))
    return _inverse(order)


def names_first(rows: Sequence[Row]) -> list[int]:
    """Return where each row stands in the order of names."""
    return _inverse(sorted(range(len(rows)), key=lambda index: rows[index].name.casefold()))


def _inverse(order: Sequence[int]) -> list[int]:
    places = [0] * len(order)
    for place, index in enumerate(order):
        places[index] = place
    return places


def bodies_of(table: Table, names: Sequence[str], groups: Sequence[int]) -> list[Body]:
    """Return the rows of a table with the lines that belong to each."""
    labels, _ = labels_of(table.rows)
    lines: dict[int, list[tuple[Line, Sequence[Cell]]]] = {}
    for number, line in enumerate(table.lines):
        if line.kind != "real":
            lines.setdefault(line.index, []).append((line, [column.cells[number] for column in table.columns]))
    return [
        Body(index, groups[index], names[index], labels[index].text, labels[index].options, of)
        for index, of in lines.items()
    ]


def real_of(table: Table) -> list[Cell]:
    """Return the cells of real data."""
    number = next((number for number, line in enumerate(table.lines) if line.kind == "real"), None)
    return [] if number is None else [column.cells[number] for column in table.columns]


def legend_of(table: Table) -> list[Explained]:
    """Return what each metric compares, with its whole protocol."""
    metrics = [(number, each.column) for number, each in enumerate(table.columns) if each.column]
    return [
        Explained(number, text, facts(column.any.protocol))
        for (number, column), text in zip(metrics, table.legend, strict=True)
    ]


def facts(of: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a nested mapping as lines of a name and a text."""
    return [(key, plain(value)) for key, value in sorted(flatten(of).items())]


def names_of(rows: Sequence[Row]) -> list[str]:
    """Return a name for each row that no other has: in words, of many options by the letter in the table."""
    labels, _ = labels_of(rows)
    mixed = len({row.spec.numbers for row in rows}) > 1
    found = []
    for label, row in zip(labels, rows, strict=True):
        number = f" ({label.number})" if label.number else ""
        stale = f" (numbers {row.spec.numbers})" if row.spec.is_stale and mixed else ""
        found.append(label.name + number + stale if len(label.name) <= LONGEST else label.text)
    return found


def run_of(record: RunRecord, store: Beside | None, provenance: int, shown: Shown) -> Run:
    """Return what is told of a run."""
    meters = record.meters
    updates = ", ".join(f"{number:,} of {player}" for player, number in sorted(meters.updates.items()))
    spent = f"{thousands(meters.images)} images, updates: {updates or 'none'}, {duration(meters.seconds)}"
    logs = logs_in(store.logs(record.spec)) if store else []
    state = "stopped or running" if record.is_open else record.status
    return Run(record, state, last_line(record.error), spent, command_of(record), logs, provenance, shown)


def ends(runs: Iterable[Run]) -> str:
    """Say how runs ended, in the order of the first of each."""
    counts = Counter(run.state for run in runs)
    return ", ".join(f"{number} {state}" for state, number in counts.items())
