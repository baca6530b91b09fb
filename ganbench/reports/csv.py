"""Reports as CSV: one line a row, in columns that a program can name."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganbench.errors import UserError
from ganbench.reports.guard import guarded, warn
from ganbench.reports.keys import KEY, head
from ganbench.reports.view import DEFAULT, METERS, View, is_wanted, metrics_of, require_names
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, rows
from ganbench.results.statistics import Score

_FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""A text that begins so is run as a formula by programs that open tables."""


def render(records: Iterable[RunRecord], view: View = DEFAULT) -> str:
    """Write one line for each key, or for each run; metrics that a row has under a second protocol have more columns.

    Each metric has its value (the mean over seeds), the ends of its interval, the number of seeds, and its protocol.
    """

    def written(some: Sequence[RunRecord]) -> str:
        found = rows(some, runs=view.runs)
        require_names(found, view)
        return _table(found, view)

    text, problems = guarded(list(records), written)
    warn(problems)
    return text


def _table(table: Sequence[Row], view: View) -> str:
    scores = [_named(row, view) for row in table]
    owners: dict[str, str] = {}
    for name, score in (pair for of in scores for pair in of.items()):
        if owners.setdefault(name, score.metric) != score.metric:
            raise UserError(f"two metrics would share the CSV column {name!r}: use the format json")
    names = sorted(owners)
    suffixes = ("", "_protocol") if view.runs else ("", "_low", "_high", "_n", "_protocol")
    counts = ("id", "seed", "status", "error") if view.runs else ("seeds", "done", "diverged", "failed", "stopped")
    preset = ("preset",) if any(row.spec.preset for row in table) else ()
    numbers = ("numbers",) if any(row.spec.is_stale for row in table) else ()
    meters = [place for name, place in METERS.items() if is_wanted(name, view)]
    columns = [*KEY, *preset, *numbers, *counts, *(name + suffix for name in names for suffix in suffixes), *meters]
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"two metrics would share the CSV column {twice[0]!r}: use the format json")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(harmless, columns))
    for row, of in zip(table, scores, strict=True):
        cells = {**head(row, view.runs), **row.meters}
        for name, score in of.items():
            cells |= _cells(name, score)
        writer.writerow([harmless(cells.get(column, "")) for column in columns])
    return file.getvalue()


def _named(row: Row, view: View) -> dict[str, Score]:
    """Return the scores of a row by the column they begin: that of most seeds has the name of its metric alone."""
    found: dict[str, Score] = {}
    for metric in metrics_of([row]):
        if is_wanted(metric, view):
            first, *others = sorted(row.scores[metric], key=lambda score: -len(score.by_seed))
            name = metric.replace("-", "_")
            for column, score in ((name, first), *((f"{name}_{each.protocol_hash}", each) for each in others)):
                if column in found:
                    raise UserError(f"two metrics would share the CSV column {column!r}: use the format json")
                found[column] = score
    return found


def _cells(name: str, score: Score) -> Mapping[str, Any]:
    return {
        name: score.mean,
        f"{name}_low": score.low,
        f"{name}_high": score.high,
        f"{name}_n": len(score.by_seed),
        f"{name}_protocol": score.protocol_hash,
    }


def harmless(cell: Any) -> Any:
    """Return a cell, a text that would be run as a formula after an apostrophe; numbers are numbers."""
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # which `csv` writes without quotes
    return f"'{text}" if text.startswith(_FORMULA) else text
