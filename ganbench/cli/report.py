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
    from ganbench.files import write_atomically
    from ganbench.reports.render import render
    from ganbench.results.store import ResultStore

    records, problems = ResultStore(results).records()
    for problem in problems:
        tell(f"Skipped: {problem}")
    text = render(records, problems, "json" if as_json else form, runs=runs)
    if output is None:
        show(text)
    else:
        write_atomically(output, lambda file: file.write(text.rstrip().encode("utf-8", REPLACED) + b"\n"))
