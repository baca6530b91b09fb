"""Tables in Markdown: captions, cells, bold, and the legend of protocols. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ganbench.reports.guard import guarded
from ganbench.reports.notes import ARROW, Column, caption, direction, legend, makers, namesakes, remarks, seed_note
from ganbench.reports.words import aligned, duration, escape, figure, memory, quoted, scaled, thousands
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.rows import METERS, Row, rows
from ganbench.results.statistics import Score, mean_of

NOTHING = "–"
_METER_TITLES = ("images", "D updates", "G updates", "FLOPs", "time", "peak memory")


def render(records: Iterable[RunRecord], notes: Sequence[str] = (), *, runs: bool = False) -> str:
    """Write one table for each data set, backbone, batch size, budget and precision, with caption and legend."""
    parts, odd = guarded(list(records), lambda some: tables(rows(some, runs=runs), runs=runs))
    if notes := [*notes, *odd]:
        parts.append("\n".join(["Not in the tables:", "", *(f"- {quoted(note)}" for note in notes)]))
    return "\n\n".join(parts) + "\n"


def tables(rows: Sequence[Row], *, runs: bool) -> list[str]:
    """Return a table for each data set, size, backbone, batch size, budget, precision and content of the data.

    `rows` are sorted by these. `runs`: each of them is a single run.
    """
    groups = [(key, list(group)) for key, group in groupby(rows, key=lambda row: (_title(row.spec), row.spec.data))]
    titles = Counter(title for (title, _), _ in groups)
    parts = []
    for (title, data), group in groups:
        also = f", data {data[:8] or 'unknown'}" if titles[title] > 1 else ""
        parts.append(_table(escape(title + also), group, runs))
    return parts


def _title(spec: RunSpec) -> str:
    size = f"{spec.size} px, " if spec.size else ""
    preset = f", preset {spec.preset}" if spec.preset else ""
    return f"{spec.dataset}, {size}{spec.backbone}, batch {spec.batch}, {spec.budget}, {spec.precision}{preset}"


def _table(title: str, rows: Sequence[Row], runs: bool) -> str:
    columns = sorted({(name, score.protocol_hash) for row in rows for name, of in row.scores.items() for score in of})
    grid = {column: [_score(row, column) for row in rows] for column in columns}
    trained = [None if row.is_control or row.spec.is_stale else row for row in rows]
    best = {
        column: _clear_winner([score if row else None for score, row in zip(scores, trained, strict=True)])
        for column, scores in grid.items()
    }
    labels = _labels(rows, runs)
    header = ["variant", *(("seed", "status") if runs else ("runs",)), *(_heading(column, grid) for column in columns)]
    lines = []
    for index, row in enumerate(rows):
        run = row.runs[0]
        counts = [str(run.spec.seed), "stopped" if run.is_open else run.status] if runs else [_counts(row)]
        cells = [_cell(grid[column][index], best[column] == index) for column in columns]
        lines.append([labels[index], *counts, *cells, *_meter_cells(row)])
        if said := row.published:
            cells = [_published_cell(said, name) for name, _ in columns]
            lines.append([f"*{labels[index]}, published*", *[""] * len(counts), *cells, *[""] * len(METERS)])
    references = [mean_of(score.reference for score in grid[column] if score) for column in columns]
    if any(reference is not None for reference in references):
        cells = [NOTHING if reference is None else figure(reference) for reference in references]
        counts = [""] * (2 if runs else 1)
        lines.append(["*real data*", *counts, *cells, *[""] * len(METERS)])
    notes = [*legend(grid), *remarks(rows, labels, grid)]
    if any(index is not None for index in best.values()):
        notes.append("Bold: the best mean, where its interval is disjoint from the runner-up's.")
    if not runs:
        notes.extend(seed_note(rows))
    notes.extend(makers(rows))
    parts = [f"### {title}", caption(rows, runs), aligned([*header, *_METER_TITLES], lines)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes)] if notes else parts)


def _score(row: Row, column: Column) -> Score | None:
    name, protocol = column
    return next((score for score in row.scores.get(name, []) if score.protocol_hash == protocol), None)


def _clear_winner(scores: Sequence[Score | None]) -> int | None:
    """Return the index of the best mean if its interval is disjoint from the runner-up's, else None."""
    higher = direction(scores)
    ranking = [(score.mean, index, score) for index, score in enumerate(scores) if score]
    if higher is None or len(ranking) < 2:
        return None
    (_, winner, best), (_, _, second) = sorted(ranking, key=lambda entry: entry[0], reverse=higher)[:2]
    if best.low is None or best.high is None or second.low is None or second.high is None:
        return None
    return winner if (best.low > second.high if higher else best.high < second.low) else None


def _labels(rows: Sequence[Row], runs: bool) -> list[str]:
    """Return the names of rows, numbered where rows of one name and one set of options differ in something else."""
    groups = namesakes(rows)
    labels = []
    for row in rows:
        others = groups[row.name]
        number = f" ({others.index(row.facts) + 1})" if len(others) > 1 else ""
        mark = f" (numbers {row.spec.numbers})" if row.spec.is_stale else ""
        mark += " †" if row.own_architecture else ""
        labels.append(escape(row.name) + number + mark)
    return labels


def _published_cell(said: Mapping[str, Any], metric: str) -> str:
    values = said.get("values")
    match values.get(metric) if isinstance(values, Mapping) else None:
        case [int() | float() as value, None, *_]:
            return f"{value:g}"
        case [int() | float() as value, int() | float() as error, *_]:
            return f"{value:g} ± {error:g}"
    return NOTHING


def _heading(column: Column, grid: Mapping[Column, Sequence[Score | None]]) -> str:
    name, protocol = column
    several = sum(other == name for other, _ in grid) > 1
    return escape(name) + ARROW[direction(grid[column])] + (f" ({protocol})" if several else "")


def _counts(row: Row) -> str:
    if row.done == len(row.runs):
        return str(row.done)
    parts = [f"{row.done}/{len(row.runs)}"]
    parts += [f"{row.diverged} diverged"] if row.diverged else []
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.stopped} stopped"] if row.stopped else []
    return ", ".join(parts)


def _cell(score: Score | None, bold: bool) -> str:
    if score is None:
        return NOTHING
    text = figure(score.mean, score.half_width)
    return f"**{text}**" if bold else text


def _meter_cells(row: Row) -> list[str]:
    write = {"flops": scaled, "seconds": duration, "peak_bytes": memory}
    return [NOTHING if (amount := row.meters[name]) is None else write.get(name, thousands)(amount) for name in METERS]
