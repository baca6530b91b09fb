"""Reports as JSON: the rows with protocols, references and curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ganbench.reports.keys import head
from ganbench.results.record import RunRecord
from ganbench.results.rows import rows
from ganbench.results.statistics import Score


def render(records: Iterable[RunRecord], *, runs: bool = False) -> str:
    """Write a list of the same rows, with protocols, references of real data, and the curves of their runs."""
    content = [
        {
            **head(row, runs),
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
