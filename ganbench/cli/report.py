"""`ganbench report`: comparison tables of the records in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from ganbench.cli.group import Command
from ganbench.cli.options import FullPath, results_option
from ganbench.streams import REPLACED, show, tell


@click.command(cls=Command)
@results_option
@click.option("--format", "form", type=click.Choice(["markdown", "csv", "json"]), default="markdown", show_default=True)
@click.option("--output", type=FullPath(), help="Write to a file instead of standard output.")
@click.option("--runs", is_flag=True, help="One row a run instead of one a variant.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(results: Path, form: str, output: Path | None, runs: bool, as_json: bool) -> None:
    """Make comparison tables of the records in a results folder."""
    from ganbench.results.sharing import uncollected

    with uncollected():
        _report(results, "json" if as_json else form, output, runs)


def _report(results: Path, form: str, output: Path | None, runs: bool) -> None:
    from ganbench.errors import UserError
    from ganbench.files import write_atomically
    from ganbench.reports.render import pieces
    from ganbench.results.store import ResultStore

    records, problems, curves = ResultStore(results).summaries(curves=form == "json")
    for problem in problems:
        tell(f"Skipped: {problem}")
    if not records:
        raise UserError(problems[0])
    parts = pieces(records, problems, form, runs=runs, curves=curves)  # one after the other: they may be large
    if output is None:
        for part in parts:
            show(part, end="")
    else:
        write_atomically(output, lambda file: file.writelines(part.encode("utf-8", REPLACED) for part in parts))
