"""Reports as JSON: the rows with protocols, references and curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from ganbench.reports.guard import guarded, warn
from ganbench.reports.keys import head
from ganbench.reports.view import DEFAULT, View, is_wanted, require_names
from ganbench.results.codec import without_blanks
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row, rows
from ganbench.results.statistics import Score


def render(records: Iterable[RunRecord], view: View = DEFAULT) -> str:
    """Write a list of the same rows, with protocols, references of real data, and the curves of their runs."""
    return "".join(pieces(records, view))


def pieces(
    records: Iterable[RunRecord],
    view: View,
    curves: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[str]:
    """Write so piece by piece, a line a row. `curves`: the text of those of records that were read without, by id."""
    runs = view.runs
    table, problems = guarded(list(records), lambda some: rows(some, runs=runs))
    require_names(table, view)
    before = "[\n"
    for row in table:
        try:
            texts = [_row(row, row.runs, view, curves)]
        except Exception:  # one of its runs is odd: the others are shown
            shown, found = guarded(row.runs, lambda some: [_row(each, each.runs, view, curves) for each in rows(some)])
            texts = list(shown)
            problems += found
        for text in texts:
            yield before
            yield from text
            before = ",\n"
    yield "\n]\n" if table else "[\n\n]\n"
    warn(problems)


def _row(row: Row, of: Sequence[RunRecord], view: View, curves: Mapping[str, bytes]) -> list[str]:
    """Write a row in parts: joined, texts of curves would be copied once more."""
    wanted = ((metric, scores) for metric, scores in row.scores.items() if is_wanted(metric, view))
    metrics = {metric: [_json_score(score) for score in scores] for metric, scores in wanted}
    content = {
        **head(row, view.runs),
        "metrics": metrics,
        "meters": row.meters,
        "data": row.spec.data,
        "config": row.spec.config,
        "code": row.spec.code,
    }
    parts, before = [_text(content)[:-1]], ',"runs":['
    for run in of:
        curve = curves.get(run.spec.id)
        text = (
            _text([asdict(mark, dict_factory=without_blanks) for mark in run.curve])
            if curve is None
            else curve.decode()
        )
        parts += [before, _text(_json_run(run))[:-1], ',"curve":', text]
        before = "},"
    return [*parts, "}]}"]


def _text(content: Any) -> str:
    """Write JSON as it is faster than `json` does; what is no number is refused."""
    text = to_json(content, inf_nan_mode="strings").decode()
    if '"NaN"' in text or 'Infinity"' in text:  # it may be a word of the record, which is for `json` to tell
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return text


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
        "meters": vars(run.meters),
        "variant": run.variant,
        "provenance": run.provenance,
    }
