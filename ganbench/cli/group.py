"""The command `ganbench`: its subcommands are imported when they are called, and a wrong request is one sentence."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import click

from ganbench import __version__
from ganbench.errors import UserError

COMMANDS = ("run", "report", "list", "check", "probe", "results", "cache")
"""Each is the `command` of the module of its name."""


class Commands(click.Group):
    """A group that imports a command when it is asked for.

    Each ends with one sentence and exit code 2 where the request was wrong.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ganbench.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a `UserError`, and warnings of ganbench's own, into their sentences."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", module="ganbench")
                warnings.showwarning = lambda message, *_, **__: click.echo(f"Note: {message}", err=True)
                return super().invoke(ctx)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Stopped; the same command continues where it was.", err=True)
            ctx.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Benchmark and evaluate GANs under identical, metered budgets."""
