r"""Tables in LaTeX, ready to `\input`: they need the package booktabs and nothing else. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ganbench.reports.cells import Cell
from ganbench.reports.guard import guarded, warn
from ganbench.reports.table import Line, Table, tables
from ganbench.reports.view import DEFAULT, View, require_names
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows

_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "`": r"\textasciigrave{}",
    },
    **{"[": "{[}", "*": "{*}"},  # after the end of a line these would be options of that
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "×": r"$\times$", "²": r"$^2$"},
    **{
        "†": r"\dag{}",
        "‡": r"\ddag{}",
        "§": r"\S{}",
        "–": r"\textendash{}",
        "—": r"\textemdash{}",
        "…": r"\ldots{}",
        "’": "'",
    },
}
"""What LaTeX takes for a command, or has no character for."""
_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")


def render(records: Iterable[RunRecord], view: View = DEFAULT) -> str:
    """Write a `table` for each data set, backbone, batch size, budget and precision, its notes below it."""

    def drawn(some: Sequence[RunRecord]) -> list[str]:
        found = rows(some, runs=view.runs)
        require_names(found, view)
        return [write(table) for table in tables(found, view)]

    parts, problems = guarded(list(records), drawn)
    warn(problems)
    return "\n\n".join(["% needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs}", *parts]) + "\n"


def write(table: Table) -> str:
    """Write one table."""
    words = {"count", "middle", "meter"}
    first = [escape(table.first), *(escape(column.head) for column in table.columns)]
    body, former = [], ""
    for number, line in enumerate(table.lines):
        if line.kind == "real" and former:
            body.append(r"\midrule")
        cells = [_cell(column.cells[number], words=column.kind in words) for column in table.columns]
        body.append(" & ".join([_label(line), *cells]) + r" \\")
        former = line.kind
    notes = [escape(note) for note in (*table.legend, *table.notes)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(first) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([r"\par\medskip\raggedright\footnotesize", *(f"{note}\\par" for note in notes)] if notes else []),
            r"\end{table}",
        ]
    )


def _label(line: Line) -> str:
    if line.kind == "variant":
        return escape(line.label)
    return rf"\quad\textit{{{escape(line.label)}}}" if line.kind == "published" else rf"\textit{{{escape(line.label)}}}"


def _cell(cell: Cell, *, words: bool) -> str:
    """Write a number with its interval as one formula, `$12.3 \\pm 0.4$`; whatever is none stays text."""
    number, pm, half = cell.text.partition(" ± ")
    value, space, more = number.partition(" ")
    if words or not _NUMBER.fullmatch(value) or (pm and not _NUMBER.fullmatch(half)):
        return escape(cell.text)
    formula = _plain(value) + (rf" \pm {_plain(half)}" if pm else "")
    mark = f"^{{\\mathrm{{{cell.mark}}}}}" if cell.mark else ""
    text = rf"$\mathbf{{{formula}}}{mark}$" if cell.bold else f"${formula}{mark}$"
    return text + (space + escape(more) if more else "")


def _plain(number: str) -> str:
    mantissa, e, power = number.replace(",", "{,}").partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if e else mantissa


def escape(text: str) -> str:
    """Make text stand as itself, on one line; a character that pdfLaTeX has no glyph for becomes a question mark."""
    return "".join(_escaped(char) for char in text).replace("--", "-{}-")  # else it would be a dash


def _escaped(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    if not char.isprintable():
        return " "
    return char if ord(char) < 0x180 else "?"
