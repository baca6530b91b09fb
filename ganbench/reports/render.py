"""A report of some records in the format asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

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
    return "".join(pieces(records, problems, format, runs=runs)).removesuffix("\n")


def pieces(
    records: Sequence[RunRecord],
    problems: Sequence[str],
    format: str,
    *,
    runs: bool,
    curves: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterable[str]:
    """Write so piece by piece. `curves`: the text of those of records that were read without theirs, by id."""
    match format:
        case "markdown":
            return [markdown.render(records, problems, runs=runs)]
        case "csv":
            return [csv.render(records, runs=runs)]
    return json.pieces(records, runs=runs, curves=curves)
