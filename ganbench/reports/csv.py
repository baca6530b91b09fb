"""Reports as CSV: one line a row, in columns that a program can name."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from ganbench.errors import UserError
from ganbench.reports.guard import guarded, warn
from ganbench.reports.keys import KEY, head
from ganbench.results.record import RunRecord
from ganbench.results.rows import METERS, Row, rows
from ganbench.results.statistics import Score


def render(records: Iterable[RunRecord], *, runs: bool = False) -> str:
    """Write one line for each key and, where a metric was measured under several protocols, one for each of those.

    A second line holds only the metrics that have a second protocol: whatever has one is written once.
    """
    text, problems = guarded(list(records), lambda some: _table(rows(some, runs=runs), runs))
    warn(problems)
    return text


def _table(table: Sequence[Row], runs: bool) -> str:
    suffixes = ("", "_protocol") if runs else ("", "_low", "_high", "_protocol")
    metrics = sorted({metric for row in table for metric in row.scores})
    counts = ("id", "seed", "status", "error") if runs else ("seeds", "done", "diverged", "failed", "stopped")
    scores = [metric.replace("-", "_") + suffix for metric in metrics for suffix in suffixes]
    preset = ("preset",) if any(row.spec.preset for row in table) else ()
    numbers = ("numbers",) if any(row.spec.is_stale for row in table) else ()
    columns = [*KEY, *preset, *numbers, *counts, *scores, *METERS]
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"two metrics would share the CSV column {twice[0]!r}: use the format json")
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in table:
        for line in zip_longest(*row.scores.values()) if row.scores else [()]:
            cells = {name: cell for score in line if score for name, cell in _csv_cells(score).items()}
            cells = {**head(row, runs), **cells, **row.meters}
            writer.writerow({name: cell for name, cell in cells.items() if name in columns})
    return file.getvalue()


def _csv_cells(score: Score) -> dict[str, Any]:
    name = score.metric.replace("-", "_")
    return {
        name: score.mean,
        f"{name}_low": score.low,
        f"{name}_high": score.high,
        f"{name}_protocol": score.protocol_hash,
    }
