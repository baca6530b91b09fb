"""Options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from ganbench.errors import UserError, brief
from ganbench.files import cache_folder, expanded
from ganbench.runs.hints import require_no_file, require_plugin

Chosen = TypeVar("Chosen", bound=Callable[..., Any])

MOST_SEEDS = 10_000


NO_METRICS = "none"


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


class Metrics(Names):
    """A comma-separated list of metrics, or none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, nothing for `none`."""
        return () if value == NO_METRICS else super().convert(value, param, ctx)


class Compiling(click.ParamType):  # type: ignore[type-arg]
    """How steps are made quicker: by compiled code, by graphs, or not at all."""

    name = "on|graph|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool | Literal["graph"]:
        """Return True, "graph" or False; Python's own words mean the same."""
        text = str(value).strip().lower()
        if text == "graph":
            return "graph"
        if text not in ("on", "true", "off", "false"):
            self.fail(f"{brief(text)!r} is none of on, graph and off", param, ctx)
        return text in ("on", "true")


class Seeds(click.ParamType):  # type: ignore[type-arg]
    """How many seeds, or which: 3 is 0, 1 and 2; `3-5` and `0,7` name them."""

    name = "N|A-B|A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, ...]:
        """Return the number of seeds, or those that are named, from the first to the last."""
        text = str(value).strip()
        parts = [part.strip() for part in text.split(",") if part.strip()]
        found = [re.fullmatch(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?", part) for part in parts]
        if not parts or None in found:
            self.fail(f"{brief(text)!r} is neither a number nor names seeds: write 3, 3-5 or 0,7", param, ctx)
        spans = [(int(one[1]), int(one[2] or one[1])) for one in found if one]
        if len(spans) == 1 and "," not in text and "-" not in text:
            number = spans[0][0]
            if not 1 <= number <= MOST_SEEDS:
                named = f"a seed is named as {text}-{text}"
                self.fail(f"{text} is not in the range 1<=x<={MOST_SEEDS}; {named}", param, ctx)
            return number
        if backwards := [f"{first}-{last}" for first, last in spans if last < first]:
            self.fail(f"{backwards[0]} ends before it begins", param, ctx)
        if sum(last - first + 1 for first, last in spans) > MOST_SEEDS:
            self.fail(f"{brief(text)!r} names more than {MOST_SEEDS} seeds", param, ctx)
        return tuple(sorted({seed for first, last in spans for seed in range(first, last + 1)}))


class Shares(click.ParamType):  # type: ignore[type-arg]
    """Shares of a budget, parted by commas."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the shares, each above 0 and at most 1."""
        if isinstance(value, tuple):
            return value
        try:
            shares = [float(part) for part in str(value).split(",") if part.strip()]
        except ValueError:
            shares = []
        if not shares or not all(0 < share <= 1 for share in shares):
            self.fail(f"{brief(str(value))!r}: name shares above 0 and at most 1, as in 0.04,0.4", param, ctx)
        return tuple(sorted(set(shares)))


class FullPath(click.ParamType):  # type: ignore[type-arg]
    """A path, made absolute at once: a plugin may change the current folder. `~` is expanded."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path in full."""
        try:
            if not value or "\0" in os.fsdecode(os.fsencode(value)):
                self.fail("it is empty" if not value else "it holds a NUL, which no path can", param, ctx)
            path = expanded(value)
            return path if path.is_absolute() else current_folder() / path
        except UnicodeEncodeError:
            self.fail("it holds characters that no path can", param, ctx)
        except UserError as error:
            self.fail(str(error), param, ctx)


NAMED = ("variants", "variant", "datasets", "dataset", "backbone", "metrics")
"""Where a request names what plugins offer."""


def current_folder() -> Path:
    """Return the folder that the command was given in. Raises `UserError` where it has been removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise UserError(f"the current folder cannot be used: {error.strerror}; go to another one") from None


def require_plugins(plugins: Sequence[Path]) -> None:
    """Raise `UserError` for a plugin that is no file."""
    for path in plugins:
        require_plugin(path)


def check_early(results: Path, request: Mapping[str, Any]) -> None:
    """Refuse what is wrong in itself before torch is imported, which takes seconds."""
    from ganbench.results.store import ResultStore
    from ganbench.runs.sweeps import combinations
    from ganbench.training.budget import Budget
    from ganbench.training.devices import require_name

    if request.get("budget"):
        Budget.parse(request["budget"], 1)  # how many images an epoch has is known when data are open
    combinations(request.get("sweeps", ()), request["settings"])
    for name in NAMED:
        given = request.get(name) or ()
        require_no_file(
            "--dataset" if name == "datasets" else f"--{name}", [given] if isinstance(given, str) else given
        )
    require_name(request["device"])
    require_plugins(request["plugins"])
    cache_folder()  # where there is no home, no score could be kept in the end
    ResultStore(results)


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=FullPath(),
    help="A plugin that is one Python file; may be given several times.",
)
results_option = click.option(
    "--results",
    default="results",
    type=FullPath(),
    show_default=True,
    help="Folder of records.",
)


def selection_options(command: Chosen) -> Chosen:
    """Add the options that choose among records: data sets, variants, and what else a run was."""
    several = (
        click.option("--dataset", "datasets", type=Names(), default=(), help="Only these data sets; globs."),
        click.option("--variants", type=Names(), default=(), help="Only these variants; globs, as in 'wgan*'."),
        click.option(
            "--where",
            multiple=True,
            metavar="KEY=VALUE",
            help="Only runs of this batch, seed, backbone, …, or option: batch=64, lr=2e-4, dcgan.width=32. May be "
            "repeated.",
        ),
    )
    for option in reversed(several):  # a command shows the last that was added first
        command = option(command)
    return command


data_option = click.option(
    "--data", type=FullPath(), envvar="GANBENCH_DATA", default="data", show_default=True,
    help="Root of the data sets; never written to.  [env: GANBENCH_DATA]",
)  # fmt: skip
