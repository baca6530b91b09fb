"""Tables in LaTeX: their structure is read as TeX would, since there may be none to compile them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.mathtext import MathTextParser

from ganbench.contract.types import CONTROL, Value
from ganbench.reports.cells import Cell
from ganbench.reports.latex import _cell, escape, render
from ganbench.reports.view import View
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore

Make = Callable[..., RunRecord]
RESULTS = Path(__file__).parents[2] / "results" / "published"
FOLDERS = sorted({path.relative_to(RESULTS).parts[0] for path in RESULTS.rglob("seed*.json")})
COMMANDS = {
    *("begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "par", "medskip", "raggedright"),
    *("footnotesize", "quad", "textit", "dag", "ddag", "S", "textendash", "textemdash", "ldots"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedbl"),
    *("textasciigrave", "pm", "times", "uparrow", "downarrow", "mathbf", "mathrm"),
}
"""All that a table may use: of LaTeX itself, of booktabs, and symbols of the T1 encoding."""
NASTY = "a&b%c$d#e_f{g}h~i^j\\k\nl<m>n|o\"p`q'r[s]t*u--v\x1b[31m\u202e名↑\\input{/etc/passwd}"


def sound(text: str) -> list[list[str]]:
    """Read a report strictly, and return the cells of its tables line by line."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("% needs"))
    assert all(char.isprintable() or char == "\n" for char in body)
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= COMMANDS
    plain = re.sub(r"\\([&%$#_{}]|\\)", "", body)  # what is escaped, and ends of lines
    opened: list[str] = []
    for begins, ends in re.findall(r"\\begin\{(\w+)\}|\\end\{(\w+)\}", body):
        if begins:
            opened.append(begins)
        else:
            assert opened.pop() == ends
    assert opened == []
    depth = 0
    for char in plain:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    outside = re.sub(r"\$[^$]*\$", "", plain)
    assert not set("#%~^_") & set(outside) and not re.search(r"[<>|\"`]", outside) and max(map(ord, outside)) < 0x180
    found = []
    for columns, lines in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", body, re.DOTALL):
        assert re.fullmatch("lr*", columns) and lines.startswith("\\toprule\n") and lines.endswith("\\bottomrule\n")
        rows = [line for line in lines.splitlines() if not re.fullmatch(r"\\(top|mid|bottom)rule", line)]
        for row in rows:
            assert row.endswith(r" \\") and not re.match(r"\s*[\[*]", row)  # else it were an option of the line before
            cells = re.split(r"(?<!\\)&", row[: -len(r" \\")])
            assert len(cells) == len(columns)
            found.append([cell.strip() for cell in cells])
        assert "&" not in re.sub(r"\\&", "", body.replace(lines, "")) or body.count("tabular") > 2
    for formula in re.findall(r"(?<!\\)\$[^$]*\$", body.replace(r"\$", "")):
        MathTextParser("agg").parse(formula.replace(r"{,}", ","))  # raises for what is no formula
    return found


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("columns", [(), ("all",)])
def test_the_tables_of_this_repository_are_sound(folder: str, columns: tuple[str, ...]) -> None:
    text = render(ResultStore(RESULTS / folder).summaries(curves=False)[0], View(columns=columns))
    cells = sound(text)
    assert len(cells) > 3 and text.startswith("% needs ") and text.endswith("\\end{table}\n")


def test_numbers_are_ready_to_paste(record: Make) -> None:
    records = [
        record("gan", seed, {"fid": Value(12.3 + (seed - 1) / 6, {"n_fake": 5}, 0.5, False)}) for seed in range(3)
    ]
    cells = sound(render(records))
    assert cells[0] == ["variant", r"fid$\downarrow$", "time"]
    assert cells[1] == ["gan", r"$12.30 \pm 0.41$", "1.5 min"]
    assert cells[2][:2] == [r"\textit{real data}", "$0.5$"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell("12.3 ± 0.4"), r"$12.3 \pm 0.4$"),
        (Cell("-0.5"), "$-0.5$"),
        (Cell("1.23e+08 ± 1.2e+06"), r"$1.23 \times 10^{8} \pm 1.2 \times 10^{6}$"),
        (Cell("2e-07"), r"$2 \times 10^{-7}$"),
        (Cell("12.3 ± 0.4", "ab", bold=True), r"$\mathbf{12.3 \pm 0.4}^{\mathrm{ab}}$"),
        (Cell("12.3", "c"), r"$12.3^{\mathrm{c}}$"),
        (Cell("0.9889 exact"), "$0.9889$ exact"),
        (Cell("17.3 (0.8)"), "$17.3$ (0.8)"),
        (Cell("–"), r"\textendash{}"),
        (Cell(""), ""),
    ],
)
def test_a_cell_is_one_formula(cell: Cell, text: str) -> None:
    assert _cell(cell, words=False) == text


@pytest.mark.parametrize("runs", [False, True])
def test_no_name_breaks_a_table_or_becomes_a_command(runs: bool, record: Make) -> None:
    spec = {"dataset": NASTY, "backbone": NASTY, "options": {NASTY: NASTY}}
    records = [
        record(name, seed, {NASTY: Value(1.0, {NASTY: NASTY, "pairs": NASTY}, 1.0, False)}, spec=spec,
               status=status, error=NASTY, unscored={NASTY + "2": NASTY},
               variant={"published": {"values": {}, "source": NASTY}, "family": family})
        for seed, (name, status, family) in enumerate(
            [(NASTY, "done", ""), ("[x]", "diverged", ""), ("*y", "done", ""), ("z", "done", CONTROL)]
        )
    ]  # fmt: skip
    for columns in ((), ("all",)):
        cells = sound(render(records, View(runs=runs, columns=columns)))
        assert len(cells) > 4 and not any(r"\input" in cell for row in cells for cell in row)


def test_escaped_text_stays_on_its_line_and_means_itself() -> None:
    assert escape("95 % & $x_1$ #2 {a}") == r"95 \% \& \$x\_1\$ \#2 \{a\}"
    assert escape("a\nb\tc") == "a b c" and escape("--redo") == "-{}-redo" and escape("---") == "-{}--"
    assert escape("ü é ß") == "ü é ß" and escape("名") == "?"
