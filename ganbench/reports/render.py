"""A report of some records in the format asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from ganbench.errors import UserError
from ganbench.reports import csv, json, latex, markdown
from ganbench.reports.view import View
from ganbench.results.record import RunRecord

FORMATS = ("markdown", "csv", "json", "latex")
SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}
"""Formats by the suffix of a file."""


def render(
    records: Sequence[RunRecord],
    problems: Sequence[str] = (),
    format: str = "markdown",
    *,
    runs: bool = False,
    view: View | None = None,
) -> str:
    """Write the report of some records in one of `FORMATS`, without a final newline.

    `runs`: one row a run instead of one over its seeds. `problems` (files that could not be read) stand under the
    Markdown tables; the other formats are data alone, so that their caller says them elsewhere. Raises `UserError`
    where there is no record.
    """
    if not records:
        raise UserError(problems[0] if problems else "no results: run `ganbench run` first")
    return "".join(pieces(records, problems, format, view or View(runs=runs))).removesuffix("\n")


def pieces(
    records: Sequence[RunRecord],
    problems: Sequence[str],
    format: str,
    view: View,
    curves: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterable[str]:
    """Write so piece by piece. `curves`: the text of those of records that were read without theirs, by id."""
    match format:
        case "markdown":
            return [markdown.render(records, problems, view)]
        case "latex":
            return [latex.render(records, view)]
        case "csv":
            return [csv.render(records, view)]
    return json.pieces(records, view, curves)
