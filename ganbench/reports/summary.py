"""Several tables in one: mean ranks over data sets, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ganbench.errors import UserError, brief
from ganbench.reports.grid import columns_of
from ganbench.reports.guard import guarded
from ganbench.reports.labels import labels_of
from ganbench.reports.markdown import bullets
from ganbench.reports.table import title_of
from ganbench.reports.view import DEFAULT, View, headline, metrics_of, require_names
from ganbench.reports.words import aligned, escape
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, rows
from ganbench.results.summary import Summary, summarise

MOST = 6
"""Of more tables than these single ranks are not shown."""


def render(records: Sequence[RunRecord], problems: Sequence[str] = (), view: View = DEFAULT) -> str:
    """Compare variants over all tables of these records: by the metric asked for, else by the first of each table."""

    def drawn(some: Sequence[RunRecord]) -> str:
        found = rows(some)
        require_names(found, view)
        return write(*tables_of(found, view.sort))

    text, odd = guarded(list(records), drawn)
    notes = [*problems, *odd]
    return text + ("\n".join(["", "Not in the summary:", "", *bullets(notes)]) + "\n" if notes else "")


def tables_of(found: Sequence[Row], by: str) -> tuple[dict[str, dict[str, float | None]], dict[str, str]]:
    """Return by title the ranks of the rows of each table, and the metric they are of."""
    ranks: dict[str, dict[str, float | None]] = {}
    metrics: dict[str, str] = {}
    for (title, data), group in groupby(found, key=lambda row: (title_of(row.spec), row.spec.data)):
        table = list(group)
        metric = by or next(iter(headline(table)), "")
        if metric not in metrics_of(table):
            continue
        title = f"{title}, data {data[:8]}" if title in ranks else title
        column = columns_of(table, [metric], ranked=True)[0]  # what was measured last
        labels, _ = labels_of(table)
        several = Counter(label.name for label in labels)
        ranks[title] = {
            label.name: column.standing(index).rank if several[label.name] == 1 else None
            for index, (label, row) in enumerate(zip(labels, table, strict=True))
            if not row.is_control
        }
        metrics[title] = column.name
    if not ranks:
        raise UserError(f"no table can be ranked by {by}" if by else "no table has a metric to be ranked by")
    return ranks, metrics


@dataclass(frozen=True)
class Overview:
    """Mean ranks as plain text: a title, a table, notes."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str]


def write(ranks: dict[str, dict[str, float | None]], metrics: dict[str, str]) -> str:
    """Write mean ranks, best first, with what can be told apart."""
    told = overview(ranks, metrics)
    lines = [[escape(line[0]), *line[1:]] for line in told.lines]
    parts = [f"### {told.title}", *([aligned(told.header, lines)] if lines else []), "\n".join(bullets(told.notes))]
    return "\n\n".join(parts) + "\n"


def overview(ranks: dict[str, dict[str, float | None]], metrics: dict[str, str]) -> Overview:
    """Say so in plain text."""
    summary = summarise(ranks)
    letters = _letters(summary)
    single = list(ranks) if len(ranks) <= MOST else []
    header = ["variant", "mean rank", *(f"({number})" for number in range(1, len(single) + 1))]
    lines = [
        [name, f"{rank:.2f} {letters[name]}".rstrip(), *(f"{ranks[title][name]:g}" for title in single)]
        for name, rank in summary.ranks.items()
    ]
    notes = [f"({number}) {title}, by {metrics[title]}" for number, title in enumerate(ranks, 1)]
    if summary.critical_difference is not None:
        notes.append(
            f"Friedman's statistic {summary.statistic:.3g}, p = {summary.p:.2g}; critical difference of two mean ranks "
            f"{summary.critical_difference:.3g} (Nemenyi, 5 %). Rows that share a letter cannot be told apart"
        )
    notes += [summary.note] if summary.note else []
    notes += ["Controls, and runs of an older ganbench, are not ranked"]
    if missing := [f"{name} ({len(where)} of {len(ranks)})" for name, where in summary.left_out.items()]:
        notes.append(f"Left out, since they have no rank in some tables: {brief(', '.join(missing), 600)}")
    tables = f"{len(ranks)} table{'' if len(ranks) == 1 else 's'}"
    return Overview(f"Mean ranks over {tables}", header, lines, notes)


def _letters(summary: Summary) -> dict[str, str]:
    """Return the letters of rows: one for each group that cannot be told apart."""
    letters = dict.fromkeys(summary.ranks, "")
    for number, clique in enumerate(summary.cliques):
        for name in clique:
            letters[name] += chr(ord("a") + number)
    return letters
