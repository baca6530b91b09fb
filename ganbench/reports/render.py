"""A report of some records in the format asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from ganbench.errors import UserError
from ganbench.reports import csv, json, latex, markdown
from ganbench.reports.view import View
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore

FORMATS = ("markdown", "csv", "json", "latex", "html")
SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".json": "json",
    ".tex": "latex",
    ".html": "html",
    ".htm": "html",
}
"""Formats by the suffix of a file."""


def render(
    records: Sequence[RunRecord],
    problems: Sequence[str] = (),
    format: str = "markdown",
    *,
    runs: bool = False,
    view: View | None = None,
    store: ResultStore | None = None,
) -> str:
    """Write the report of some records in one of `FORMATS`, without a final newline.

    `runs`: one row a run instead of one over its seeds. `problems` (files that could not be read) stand under the
    Markdown tables, and on the page; the other formats are data alone, so that their caller says them elsewhere.
    `store`: where a page finds traces, pictures and experiments. Raises `UserError` where there is no record, and for a
    page no experiment either.
    """
    if not records and format != "html":
        raise UserError(problems[0] if problems else "no results: run `ganbench run` first")
    return "".join(pieces(records, problems, format, view or View(runs=runs), store=store)).removesuffix("\n")


def pieces(
    records: Sequence[RunRecord],
    problems: Sequence[str],
    format: str,
    view: View,
    curves: Mapping[str, bytes] = MappingProxyType({}),
    store: ResultStore | None = None,
) -> Iterable[str]:
    """Write so piece by piece. `curves`: the text of those of records that were read without theirs, by id.

    A page takes records with their curves, and from `store` what lies beside them.
    """
    match format:
        case "markdown":
            return [markdown.render(records, problems, view)]
        case "latex":
            return [latex.render(records, view)]
        case "csv":
            return [csv.render(records, view)]
        case "html":
            from ganbench.reports.page import page  # it imports more than the others

            return [page.render(records, problems, view, store)]
    return json.pieces(records, view, curves)
