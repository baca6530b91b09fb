"""Tables in Markdown, which a terminal of 100 columns shows as well. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ganbench.reports.cells import Cell
from ganbench.reports.guard import guarded
from ganbench.reports.table import Drawn, Line, Table, tables
from ganbench.reports.view import DEFAULT, View, require_names
from ganbench.reports.words import aligned, escape, folded, quoted
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows


def render(records: Iterable[RunRecord], notes: Sequence[str] = (), view: View = DEFAULT) -> str:
    """Write one table for each data set, backbone, batch size, budget and precision, with caption and legend."""

    def drawn(some: Sequence[RunRecord]) -> list[str]:
        found = rows(some, runs=view.runs)
        require_names(found, view)
        return [write(table) for table in tables(found, view)]

    parts, odd = guarded(list(records), drawn)
    if notes := [*notes, *odd]:
        parts.append("\n".join(["Not in the tables:", "", *bullets(notes)]))
    return "\n\n".join(parts) + "\n"


def write(table: Table) -> str:
    """Write one table."""
    header = [table.first, *(escape(column.head) for column in table.columns)]
    lines = [list(line) for line in zip(map(_label, table.lines), *map(_cells, table.columns), strict=True)]
    notes = "\n".join(bullets([*table.legend, *table.notes]))
    parts = [f"### {escape(table.title)}", folded(quoted(table.caption)), aligned(header, lines), notes]
    return "\n\n".join(part for part in parts if part)


def bullets(notes: Sequence[str]) -> list[str]:
    """Write notes as a list."""
    return [folded(f"- {quoted(note)}", "  ") for note in notes]


def _label(line: Line) -> str:
    if line.kind == "variant":
        return escape(line.label)
    return f"*{line.label}*" if line.kind == "real" else f"↳ *{line.label}*"


def _cells(column: Drawn) -> list[str]:
    """Write the cells of a column; letters line up."""
    widest = max(len(cell.mark) for cell in column.cells)
    return [f"{_number(cell)} {cell.mark.ljust(widest)}" if widest else _number(cell) for cell in column.cells]


def _number(cell: Cell) -> str:
    text = escape(cell.text.replace(" ± ", "±"))
    return f"**{text}**" if cell.bold else text
