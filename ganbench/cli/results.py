"""`ganbench results`: what is done to stored records."""

from __future__ import annotations

from pathlib import Path

import click

from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, results_option
from ganbench.streams import show, tell


@click.group()
def command() -> None:
    """Look after a folder of records."""


@command.command(cls=Command)
@results_option
@plugin_option
def upgrade(results: Path, plugins: tuple[Path, ...]) -> None:
    """Give records of an older schema the names that runs have now.

    Traces and working folders go along, each file stays in its folder, and no number changes. Until then reports and
    runs find such records as well, but look longer. Those of a plugin that is not installed as it was stand in
    reports, but no command takes them for its runs.
    """
    from ganbench.results.record import SCHEMA
    from ganbench.results.schemas import unknown_plugins
    from ganbench.results.store import ResultStore
    from ganbench.results.upgrade import upgrade
    from ganbench.runs.former import lookup_in
    from ganbench.runs.registry import discover

    store = ResultStore(results)
    moved, problems = upgrade(store, lookup_in(discover(plugins)))
    for problem in problems:
        tell(f"Skipped: {problem}")
    show(f"{len(moved)} {'record' if len(moved) == 1 else 'records'} upgraded to schema {SCHEMA}")
    strange = [unknown for record in moved if (unknown := unknown_plugins(record))]
    if strange:
        names = ", ".join(sorted({name for unknown in strange for name in unknown}))
        tell(
            f"Note: {len(strange)} of them are of plugins that are not installed as they were ({names}): reports show "
            "them, but no command takes them for its runs unless they are upgraded again with the plugin at hand"
        )
