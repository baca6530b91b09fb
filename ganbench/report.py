"""Reports of stored runs as Markdown, CSV or JSON. Imports no torch."""

from __future__ import annotations

import csv as csv_module
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from ganbench.errors import UserError
from ganbench.markdown import escape, tables
from ganbench.record import RunRecord
from ganbench.rows import METERS, Row, Score, rows


def render(
    records: Sequence[RunRecord], problems: Sequence[str] = (), format: str = "markdown", *, runs: bool = False
) -> str:
    """Write the report of some records as `markdown`, `csv` or `json`, without a final newline.

    `runs`: one row a run instead of one over its seeds. `problems` (files that could not be read) stand under the
    Markdown tables; the other formats are data alone, so that their caller says them elsewhere. Raises `UserError`
    where there is no record.
    """
    if not records:
        raise UserError(problems[0] if problems else "no results: run `ganbench run` first")
    data = {"csv": csv, "json": as_json}
    text = markdown(records, problems, runs=runs) if format == "markdown" else data[format](records, runs=runs)
    return text.removesuffix("\n")


def markdown(records: Iterable[RunRecord], notes: Sequence[str] = (), *, runs: bool = False) -> str:
    """Write one table for each data set, backbone, batch size, budget and precision, with caption and legend."""
    parts = tables(rows(records, runs=runs), runs=runs)
    if notes:
        parts.append("\n".join(["Not in the tables:", "", *(f"- {escape(note)}" for note in notes)]))
    return "\n\n".join(parts) + "\n"


def csv(records: Iterable[RunRecord], *, runs: bool = False) -> str:
    """Write one line for each key and, where a metric was measured under several protocols, one for each of those.

    A second line holds only the metrics that have a second protocol: whatever has one is written once.
    """
    table = rows(records, runs=runs)
    suffixes = ("", "_protocol") if runs else ("", "_low", "_high", "_protocol")
    metrics = sorted({metric for row in table for metric in row.scores})
    counts = ("id", "seed", "status", "error") if runs else ("seeds", "done", "diverged", "failed")
    scores = [metric.replace("-", "_") + suffix for metric in metrics for suffix in suffixes]
    preset = ("preset",) if any(row.spec.preset for row in table) else ()
    columns = [*_KEY, *preset, *counts, *scores, *METERS]
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"two metrics would share the CSV column {twice[0]!r}: use the format json")
    file = io.StringIO()
    writer = csv_module.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in table:
        for line in zip_longest(*row.scores.values()) if row.scores else [()]:
            cells = {name: cell for score in line if score for name, cell in _csv_cells(score).items()}
            cells = {name: cell for name, cell in cells.items() if name in columns}
            writer.writerow({**_head(row, runs), **cells, **row.meters})
    return file.getvalue()


def as_json(records: Iterable[RunRecord], *, runs: bool = False) -> str:
    """Write a list of the same rows, with protocols, references of real data, and the curves of their runs."""
    content = [
        {
            **_head(row, runs),
            "metrics": {metric: [_json_score(score) for score in scores] for metric, scores in row.scores.items()},
            "meters": row.meters,
            "data": row.spec.data,
            "config": row.spec.config,
            "code": row.spec.code,
            "runs": [_json_run(run) for run in row.runs],
        }
        for row in rows(records, runs=runs)
    ]
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


_KEY = ("dataset", "size", "backbone", "batch", "budget", "precision", "options", "variant")


def _head(row: Row, runs: bool) -> dict[str, Any]:
    spec, run = row.spec, row.runs[0]
    budget = str(spec.budget)
    key = (spec.dataset, spec.size, spec.backbone, spec.batch, budget, spec.precision, row.options, spec.variant)
    if runs:
        counts: dict[str, Any] = {"id": spec.id, "seed": spec.seed, "status": run.status, "error": run.error}
    else:
        counts = {"seeds": len(row.runs), "done": row.done, "diverged": row.diverged, "failed": row.failed}
    preset = {"preset": spec.preset} if spec.preset else {}
    return {**dict(zip(_KEY, key, strict=True)), **preset, **counts}


def _csv_cells(score: Score) -> dict[str, Any]:
    name = score.metric.replace("-", "_")
    return {
        name: score.mean,
        f"{name}_low": score.low,
        f"{name}_high": score.high,
        f"{name}_protocol": score.protocol_hash,
    }


def _json_score(score: Score) -> dict[str, Any]:
    return {
        "mean": score.mean,
        "low": score.low,
        "high": score.high,
        "seeds": sorted(score.by_seed),
        "reference": score.reference,
        "higher_is_better": score.higher_is_better,
        "protocol_hash": score.protocol_hash,
        "protocol": score.protocol,
    }


def _json_run(run: RunRecord) -> dict[str, Any]:
    return {
        "id": run.spec.id,
        "seed": run.spec.seed,
        "status": run.status,
        "error": run.error,
        "values": {metric: [value.value for value in values] for metric, values in run.values.items()},
        "unscored": run.unscored,
        "meters": asdict(run.meters),
        "curve": [asdict(mark) for mark in run.curve],
        "variant": run.variant,
        "provenance": run.provenance,
    }
