"""`ganbench check`: the conformance kit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import Command
from ganbench.cli.options import plugin_option, require_plugins
from ganbench.runs.hints import require_no_file
from ganbench.streams import show, tell

if TYPE_CHECKING:
    from ganbench.runs.steps import Begin
    from ganbench.testing.kit import Outcome


@click.command(cls=Command)
@click.argument("name", shell_complete=one_of("variant"))
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Put a variant through the conformance checks."""
    require_plugins(plugins)
    require_no_file("", [name])
    import json
    from dataclasses import asdict

    from ganbench.runs.executors.apart import survive

    outcomes, _ = survive(_outcomes, name, plugins)
    if as_json:
        show(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    else:
        for outcome in outcomes:
            show(f"{'passed' if outcome.passed else 'FAILED'}  {outcome.name}: {outcome.rule}")
            if not outcome.passed:
                show(f"        {outcome.message}")
        if any(outcome.traceback for outcome in outcomes):
            tell("Whole tracebacks are printed with --json.")
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


def _outcomes(name: str, plugins: tuple[Path, ...], begin: Begin) -> list[Outcome]:
    from ganbench.runs.registry import discover
    from ganbench.testing.kit import run_checks

    return run_checks(name, registry=discover(plugins, begin=begin), begin=begin)
