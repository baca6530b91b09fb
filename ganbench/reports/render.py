"""A report of some records in the format asked for."""

from __future__ import annotations

from collections.abc import Sequence

from ganbench.errors import UserError
from ganbench.reports import csv, json, markdown
from ganbench.results.record import RunRecord

FORMATS = ("markdown", "csv", "json")


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
    if format == "markdown":
        text = markdown.render(records, problems, runs=runs)
    else:
        text = {"csv": csv, "json": json}[format].render(records, runs=runs)
    return text.removesuffix("\n")
