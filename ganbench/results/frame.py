"""The records of a folder as one tidy table for pandas: `ganbench.load`. Imports no torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.results.record import RunRecord
from ganbench.results.rows import last_line, plain_text, reasons
from ganbench.results.store import ResultStore

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "dataset", "size", "backbone", "budget", "batch", "precision", "preset", "variant", "options", "seed", "status",
    "metric", "weights", "value", "spread", "reference", "higher_is_better", "protocol", "images", "seconds", "id",
    "made", "numbers", "error",
)  # fmt: skip


def load(results: str | PathLike[str] = "results") -> DataFrame:
    """Return the records of a results folder as a table, a row for each run, metric, protocol and kind of weights.

    `options`: as `clip=0.1 lr=0.0002`. `status`: `done`, `diverged`, `error`, `killed` or `stopped`. `weights`: `raw`
    or `ema`, empty for numbers of training and for runs that did not come through. `spread`: standard error within one
    evaluation. `reference`: what real data score. `protocol`: the hash that `ganbench report` shows; numbers of two of
    them are not to be compared. `numbers`: of the harness, likewise. A run that has not come through, or a metric that
    came to nothing, has a row with the value NaN and the reason in `error`. Warns of files that cannot be read; raises
    `UserError` where there is nothing to read.
    """
    import pandas  # takes a second

    records, problems, _ = ResultStore(Path(results)).summaries(curves=False)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    lines = [{**run, **cells} for record in records for run in [_run(record)] for cells in _cells(record)]
    frame = pandas.DataFrame(lines, columns=list(COLUMNS))
    kinds = {**dict.fromkeys(("value", "spread", "reference", "seconds"), "float64"), "higher_is_better": "boolean"}
    return frame.astype(kinds)


def _run(record: RunRecord) -> dict[str, Any]:
    spec = record.spec
    names = ("dataset", "size", "backbone", "batch", "precision", "preset", "variant", "seed", "id", "numbers")
    return {name: getattr(spec, name) for name in names} | {
        "budget": str(spec.budget),
        "options": plain_text(spec.shown_options),
        "status": "stopped" if record.is_open else record.status,
        "images": record.meters.images,
        "seconds": record.meters.seconds,
        "made": record.made,
    }


def _cells(record: RunRecord) -> Iterator[Mapping[str, Any]]:
    held = record.values if record.status == "done" else {}
    for metric, values in held.items():
        for value in values:
            yield {
                "metric": metric,
                "weights": value.weights,
                "value": value.value,
                "spread": value.spread,
                "reference": value.reference,
                "higher_is_better": value.higher_is_better,
                "protocol": value.protocol_hash,
                "error": "",
            }
    lacking = reasons(record)
    if record.status != "done":
        lacking = {(metric, ""): last_line(record.error) for metric in _asked(record)}
    for (metric, weights), reason in lacking.items():
        if not any(value.weights in ("", weights) for value in held.get(metric, [])):
            yield {"metric": metric, "weights": weights, "value": math.nan, "protocol": "", "error": reason}
    if not held and not lacking:
        yield {"metric": "", "weights": "", "value": math.nan, "protocol": "", "error": last_line(record.error)}


def _asked(record: RunRecord) -> list[str]:
    """Return the metrics that a run was asked for, as far as its record knows."""
    plugins, headline = record.provenance.get("plugins"), record.variant.get("headline")  # a record may hold anything
    if isinstance(headline, list):
        names = [str(name) for name in headline]
    else:
        known = map(str, plugins) if isinstance(plugins, Mapping) else ()
        names = [name.removeprefix("metric:") for name in known if name.startswith("metric:")]
    return list(dict.fromkeys([*names, *record.values, *(metric for metric, _ in reasons(record))]))
