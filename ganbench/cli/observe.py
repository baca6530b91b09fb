"""The option `--observe`: who is to hear of runs, and what is said of those that cannot."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.complete import one_of
from ganbench.streams import tell

if TYPE_CHECKING:
    from ganbench.results.store import ResultStore
    from ganbench.runs.executors.worker import Event
    from ganbench.runs.job import Job

observe_option = click.option(
    "--observe",
    "observe",
    multiple=True,
    shell_complete=one_of("observer"),
    metavar="NAME[:ARG]",
    help="Send what happens to tensorboard, wandb, mlflow, trackio or webhook:URL; may be given several times.",
)
Observed = Callable[["Sequence[Job]", "ResultStore"], "AbstractContextManager[Callable[[Event], None]]"]
"""Lets observers hear of the making of jobs inside a block, which is given what takes the executor's events."""


def asked_for(texts: Sequence[str], plugins: Sequence[Path]) -> Observed:
    """Find the observers that are asked for; a broken one is said and left out. Raises `UserError`."""
    if not texts:
        return _unobserved
    from ganbench.runs.observers import find
    from ganbench.runs.observing import observed

    asked, broken = find(texts, plugins)
    for name, why in broken.items():
        tell(f"Note: --observe {name} is left out, and the runs go on without it: {why}")
    command = _command(click.get_current_context(), [each.title for each in asked])

    def watch(jobs: Sequence[Job], store: ResultStore) -> AbstractContextManager[Callable[[Event], None]]:
        if asked and not jobs:
            tell("Note: all runs had been made before, so there is nothing to observe")
        return observed(asked, jobs, store, command)

    return watch


@contextmanager
def _unobserved(jobs: Sequence[Job], store: ResultStore) -> Iterator[Callable[[Event], None]]:
    yield lambda event: None


def _command(context: click.Context, titles: Sequence[str]) -> str:
    """Return the command as it was given, with the observers' arguments as they may be shown."""
    words = ["ganbench", context.info_name or ""]
    for param in context.command.params:
        given = context.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
        if given and param.name != "observe":
            words += _words(param, context.params[param.name or ""])
    return " ".join([shlex.join(words), *titles])


def _words(param: click.Parameter, value: Any) -> list[str]:
    flag = max(param.opts, key=len)
    if isinstance(param, click.Option) and param.is_flag:
        return [flag]
    several = value if param.multiple else [value]
    texts = [",".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in several]
    return [word for text in texts for word in (flag, text)]
