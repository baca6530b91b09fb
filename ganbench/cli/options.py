"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click


class Names(click.ParamType):  # type: ignore[type-arg]
    """A comma-separated list of names."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split at commas, dropping blanks around names; a comma in a path is written `\\,`."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in re.split(r"(?<!\\),", value) if name.strip())
        if not names:
            self.fail("name at least one", param, ctx)
        return names


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A plugin that is one Python file; may be given several times.",
)
results_option = click.option(
    "--results",
    default=Path("results"),
    type=click.Path(path_type=Path),
    show_default=True,
    help="Folder of records.",
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path), envvar="GANBENCH_DATA", default=Path("data"), show_default=True,
    help="Root of the data sets; never written to.  [env: GANBENCH_DATA]",
)  # fmt: skip
