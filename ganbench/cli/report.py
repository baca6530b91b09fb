"""`ganbench report`: comparison tables of the records in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, Names, results_option, selection_options
from ganbench.errors import DiskError, UserError
from ganbench.streams import REPLACED, show, tell

if TYPE_CHECKING:
    from ganbench.reports.view import View

FORMATS = ("markdown", "csv", "json", "latex", "html")
"""Those of `ganbench.reports.render`, which takes longer to import than help does."""


@click.command(cls=Command)
@results_option
@selection_options
@click.option(
    "--columns",
    type=Names(),
    default=(),
    help="Metrics and meters to show (images, d-updates, g-updates, flops, time, memory), or all.",
)
@click.option("--sort", default="", metavar="NAME", help="Best first by this metric, or by a meter, or by variant.")
@click.option("--runs", is_flag=True, help="One row a run instead of one a variant.")
@click.option("--protocols", is_flag=True, help="Whole protocols under the tables, instead of a line a metric.")
@click.option("--summary", is_flag=True, help="Mean ranks over all data sets, with the critical difference.")
@click.option("--output", type=FullPath(), help="Write to a file, in the format that its suffix says.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: that of --output, else markdown.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    results: Path,
    datasets: tuple[str, ...],
    variants: tuple[str, ...],
    where: tuple[str, ...],
    output: Path | None,
    form: str | None,
    as_json: bool,
    summary: bool,
    **view: str | bool | tuple[str, ...],
) -> None:
    """Make comparison tables of the records in a results folder.

    A row a variant, the best first by the data set's first metric. Under each table stand what every metric
    compares, what marks mean, and what went wrong. CSV and JSON hold all metrics unless --columns names some; HTML is
    one page with tables, pictures, curves, runs and experiments, which needs nothing else.
    """
    from ganbench.reports.view import View
    from ganbench.results.sharing import uncollected

    form = _format("json" if as_json else form, output)
    if summary and form != "markdown":
        raise UserError(f"--summary is Markdown alone, not {form}: leave the format out")
    with uncollected():
        _report(results, (datasets, variants, where), form, output, View(**view), summary=summary)  # type: ignore[arg-type]


def _format(form: str | None, output: Path | None) -> str:
    """Return the format that was asked for by name or by the suffix of a file."""
    from ganbench.reports.render import SUFFIXES

    suffix = output.suffix.lower() if output else ""
    said = SUFFIXES.get(suffix)
    if form and said and form != said:
        raise UserError(f"--output {output}: {suffix} is {said}, but --format says {form}; leave one of them out")
    if suffix and not said and not form:
        known = ", ".join(SUFFIXES)
        raise UserError(f"--output {output}: no format has the suffix {suffix}; write one of {known}, or give --format")
    return form or said or "markdown"


def _report(
    results: Path,
    chosen: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    form: str,
    output: Path | None,
    view: View,
    *,
    summary: bool,
) -> None:
    from ganbench.cli.page import records_for_page
    from ganbench.files import write_atomically
    from ganbench.reports.render import pieces
    from ganbench.reports.select import select
    from ganbench.reports.summary import render
    from ganbench.results.findings import has_findings
    from ganbench.results.store import ResultStore

    store = ResultStore(results)
    curves: dict[str, bytes] = {}
    if form == "html":
        records, problems = records_for_page(store)
    else:
        try:
            records, problems, curves = store.summaries(curves=form == "json")
        except DiskError:
            raise
        except UserError as error:
            raise UserError(f"{error}{_elsewhere(results)}") from None
    for problem in problems:
        tell(f"Skipped: {problem}")
    if not records and (form != "html" or not has_findings(results)):
        raise UserError(f"{problems[0]}{_elsewhere(results)}")
    records = select(records, *chosen) if records else records
    # One after the other: they may be large.
    parts = [render(records, problems, view)] if summary else pieces(records, problems, form, view, curves, store)
    if output is None:
        for part in parts:
            show(part, end="")
    else:
        write_atomically(output, lambda file: file.writelines(part.encode("utf-8", REPLACED) for part in parts))


def _elsewhere(results: Path) -> str:
    """Say where the experiments of a folder are shown, where it has some."""
    from ganbench.results.findings import FOLDER, RUNS, has_findings

    if not has_findings(results):
        return ""
    runs = results / FOLDER / RUNS
    made = f", and --results {runs} reports the runs made for them" if runs.is_dir() else ""
    return f"; it holds experiments, which a page shows (--output report.html){made}"
