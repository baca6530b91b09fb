"""Runs of trackio, in its local database or, where `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` is set, there."""

from __future__ import annotations

import contextvars
import io
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ganbench import (
    Happening,
    Observer,
    RunEnded,
    RunMarked,
    RunStarted,
    RunTicked,
    by_run,
    end_of,
    finals_of,
    hookimpl,
    scalars_of,
    settings_of,
)

PROJECT = "ganbench"


class Trackio(Observer):
    """Logs to a project, `ganbench` unless another is named; `trackio show --project ganbench` opens it.

    Options, with data set, variant, seed and NUMBERS among them, are the config; steps are images. A run's name ends
    with its id, so one that goes on is found and continued: ticks up to the last that was logged are not logged again.
    Values at the end stand in its last log, one step after its last tick, with their protocols and the status as text.
    Neither the machine nor the GPU is watched.
    """

    name = "trackio"
    summary = "runs of trackio"
    form = "trackio[:PROJECT]"
    needs = ("trackio",)
    install = "ganbench[trackio]"

    def open(self, argument: str) -> Callable[[Happening], object]:
        import trackio

        for module in (trackio, trackio.utils, sys.modules["trackio.run"]):
            vars(module)["print"] = _unprinted  # standard output is not its own
        return by_run(partial(_Run, argument or PROJECT))


class _Run:
    def __init__(self, project: str, event: RunStarted) -> None:
        import trackio

        run = event.run
        # It keeps its current run in the context, and would end it when another begins.
        self._run: Any = contextvars.copy_context().run(
            trackio.init,
            project=project,
            name=f"{run.name} {run.id}",
            group=f"{run.variant} {run.dataset}",
            config={**settings_of(run), "NUMBERS": run.numbers, "command": event.command},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    @property
    def _next(self) -> int:
        """The step after the last that was logged, also before the run was continued."""
        return int(getattr(self._run, "_next_step", 0))

    def tick(self, event: RunTicked) -> None:
        if event.spent.images >= self._next:
            self._run.log(scalars_of(event), step=event.spent.images)

    def mark(self, event: RunMarked) -> None:
        import trackio
        from PIL import Image

        pictures = {name: trackio.Image(Image.open(io.BytesIO(png))) for name, png in event.pictures.items()}
        self._run.log({**scalars_of(event), **pictures}, step=event.spent.images)

    def end(self, event: RunEnded) -> None:
        import trackio

        finals = {name: found.value for name, found in finals_of(event).items()}
        step = max(event.spent.images + 1, self._next)
        self._run.log({**finals, "end": trackio.Markdown(end_of(event))}, step=step)
        self._run.finish()


def _unprinted(*_: object, **__: object) -> None:
    """Print nothing."""


@hookimpl
def ganbench_observers() -> list[Observer]:
    return [Trackio()]
