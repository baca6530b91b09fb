"""The option `--observe`: who is to hear of runs, and what is said of those that cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganbench.cli.complete import one_of
from ganbench.cli.group import command_line
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


@dataclass(frozen=True)
class Observing:
    """`of`: lets observers hear of the making of jobs inside a block, which is given what takes the executor's events.

    `command`: the command as it was given, without what is secret of the observers' arguments.
    """

    command: str
    of: Callable[[Sequence[Job], ResultStore], AbstractContextManager[Callable[[Event], None]]]


def asked_for(texts: Sequence[str], plugins: Sequence[Path]) -> Observing:
    """Find the observers that are asked for; a broken one is said and left out. Raises `UserError`."""
    context = click.get_current_context()
    if not texts:
        return Observing(command_line(context), _unobserved)
    from ganbench.runs.observers import find
    from ganbench.runs.observing import observed

    asked, broken = find(texts, plugins)
    for name, why in broken.items():
        tell(f"Note: --observe {name} is left out, and the runs go on without it: {why}")

    def shown(word: str) -> str:
        for name in broken:
            word = re.sub(rf"^((?:--observe=)?{re.escape(name)}:).*", r"\1…", word, flags=re.DOTALL)
        return reduce(lambda text, each: each.hidden(text), asked, word)

    command = command_line(context, shown)

    def of(jobs: Sequence[Job], store: ResultStore) -> AbstractContextManager[Callable[[Event], None]]:
        if asked and not jobs:
            tell("Note: all runs had been made before, so there is nothing to observe")
        return observed(asked, jobs, store, command)

    return Observing(command, of)


@contextmanager
def _unobserved(jobs: Sequence[Job], store: ResultStore) -> Iterator[Callable[[Event], None]]:
    yield lambda event: None
