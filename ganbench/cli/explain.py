"""`ganbench explain`: what a protocol is, or what differs between two."""

from __future__ import annotations

from pathlib import Path

import click

from ganbench.cli.group import Command
from ganbench.cli.options import results_option
from ganbench.errors import UserError
from ganbench.streams import show, tell


@click.command(cls=Command)
@click.argument("hashes", metavar="HASH [HASH]", nargs=-1, required=True)
@results_option
@click.option("--json", "as_json", is_flag=True, help="As data.")
def command(hashes: tuple[str, ...], results: Path, as_json: bool) -> None:
    """Say what a protocol is, or what differs between two.

    HASH stands beside each metric under a table of `ganbench report`; its first digits are enough.
    """
    import json

    from ganbench.reports.explain import compare, explain, find, protocols_in
    from ganbench.results.store import ResultStore

    if len(hashes) > 2:
        raise UserError(f"{len(hashes)} protocols cannot be compared: name one or two")
    records, problems, _ = ResultStore(results).summaries(curves=False)
    for problem in problems:
        tell(f"Skipped: {problem}")
    known = protocols_in(records)
    names = [find(known, text) for text in hashes]
    if as_json:
        show(json.dumps({name: known[name].protocol for name in names}, ensure_ascii=False, indent=1))
    else:
        show(explain(known, names[0]) if len(names) == 1 else compare(known, *names), end="")
