"""`ganbench plot`: one figure of the records in a folder, ready to be printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, results_option, selection_options
from ganbench.errors import UserError, brief
from ganbench.streams import show, tell

FORMS = {".pdf": "pdf", ".svg": "svg", ".png": "png"}
WIDTHS = {"column": 3.25, "page": 6.75}
"""Inches, as conferences have them."""
NARROWEST, BROADEST = 2.0, 20.0
OVER = ("images", "updates", "seconds", "flops")
"""Those of `ganbench.results.along`, which takes longer to import than help does."""


class Width(click.ParamType):  # type: ignore[type-arg]
    """The width of a figure: of a column, of a page, or in inches."""

    name = "column|page|INCHES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return inches."""
        if value in WIDTHS:
            return WIDTHS[value]
        try:
            inches = float(value)
        except ValueError:
            inches = 0.0
        if not NARROWEST <= inches <= BROADEST:
            known = " or ".join(WIDTHS)
            self.fail(f"{brief(str(value))!r}: write {known}, or inches from {NARROWEST:g} to {BROADEST:g}", param, ctx)
        return inches


@click.command(cls=Command)
@click.argument("quantity", metavar="METRIC", shell_complete=one_of("metric"))
@click.option("--output", required=True, type=FullPath(), help="File to write: .pdf, .svg or .png.")
@results_option
@selection_options
@click.option("--over", type=click.Choice(OVER), help="What curves run over.  [default: images]")
@click.option("--cost", type=click.Choice(OVER), help="Draw quality at the end against this, with the Pareto front.")
@click.option("--width", type=Width(), default="column", show_default=True, help="3.25 or 6.75 inches, or others.")
@click.option("--log/--linear", default=None, help="Scale of the metric.  [default: log for norms of gradients]")
@click.option("--raw", is_flag=True, help="Every run as a line of its own instead of means with intervals.")
def command(
    quantity: str,
    output: Path,
    results: Path,
    datasets: tuple[str, ...],
    variants: tuple[str, ...],
    where: tuple[str, ...],
    over: str | None,
    cost: str | None,
    width: float,
    log: bool | None,
    raw: bool,
) -> None:
    """Draw a metric along training, or against what training took, as one figure for a paper.

    METRIC is any metric of the records, or a trace: loss/D, grad_norm/G, log/k. A line is a row of the table, with the
    interval of its mean; a panel is a table. Prints the caption, which the file holds as well.
    """
    form = _form(output)
    if cost and (over or raw):
        raise UserError(f"--cost draws points, not curves: leave {'--over' if over else '--raw'} out")
    from ganbench.files import write_atomically
    from ganbench.reports.asked import Asked
    from ganbench.reports.captions import caption
    from ganbench.reports.panels import panels_of
    from ganbench.reports.select import select
    from ganbench.results.store import ResultStore

    store = ResultStore(results)
    records, problems = store.records()
    for problem in problems:
        tell(f"Skipped: {problem}")
    if not records:
        raise UserError(problems[0])
    asked = Asked(quantity, cost or over or "images", bool(cost), raw, log)  # type: ignore[arg-type]
    panels = panels_of(store, select(records, datasets, variants, where), asked)
    from ganbench.reports.figure import render

    drawn = render(panels, asked, form, width)
    write_atomically(output, lambda file: file.write(drawn))
    show(caption(panels, asked))


def _form(output: Path) -> str:
    """Return the format that the suffix of a file says, where it can be written at all."""
    form, named = FORMS.get(output.suffix.lower()), f"--output {brief(str(output), 200)}"
    if form is None:
        found = f"no figure has the suffix {brief(output.suffix)}" if output.suffix else "it has no suffix"
        raise UserError(f"{named}: {found}; write one of {', '.join(FORMS)}")
    try:
        if not output.parent.is_dir():
            raise UserError(f"{named}: there is no folder {brief(str(output.parent), 200)}")
    except OSError as error:
        raise UserError(f"{named}: {error.strerror or error}") from error
    return form
