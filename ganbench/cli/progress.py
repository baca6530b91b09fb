"""Progress of runs: one live line a run on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ganbench.contract.types import Value
from ganbench.results.rows import plain_text
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.runs.steps import Step
from ganbench.streams import tell, visible


class Listener(Protocol):
    """What hears of events."""

    def hear(self, event: Event) -> None:
        """Show one event."""


@contextmanager
def shown(count: int) -> Iterator[Listener]:
    """Show the progress of `count` runs inside the block, as suits where standard error goes."""
    if not sys.stderr.isatty():
        yield PlainLines(count)
        return
    with live_on(Console(stderr=True)) as progress:
        yield LiveLines(progress, count)


def live_on(console: Console) -> Progress:
    """Return a display of one line a run; names are no markup."""
    texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[facts]}")]
    return Progress(texts[0], BarColumn(bar_width=24), texts[1], console=console, refresh_per_second=4)


@contextmanager
def steps_shown() -> Iterator[Callable[[Step], object]]:
    """Show on a terminal what is being done inside the block, with a bar where it is known how much of it is done."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    with live_on(Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None, facts="")

        def show(step: Step) -> None:
            share = "" if step.share is None else f"{step.share:4.0%}"
            total = None if step.share is None else 1.0
            progress.update(task, description=visible(step.what), total=total, completed=step.share, facts=share)

        yield show


class PlainLines:
    """A line for each start, mark, note and end."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started: set[str] = set()

    def hear(self, event: Event) -> None:
        """Print what is worth a line; ticks are not."""
        if event.tick is None:
            line = describe(event)
            if line is None:
                if event.job.spec.id in self._started:  # put off, because another command was making it
                    return
                self._started.add(event.job.spec.id)
                line = f"started ({len(self._started)} of {self._count})"
            tell(f"{title(event.job)}  {line}")


class LiveLines:
    """One line a running run that changes in place; a finished run leaves one line."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._count, self._ended = progress, count, 0
        self._tasks: dict[str, TaskID] = {}

    def hear(self, event: Event) -> None:
        """Move the line of the run."""
        key = event.job.spec.id
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(title(event.job), total=1.0, facts="starting")
        if event.tick is not None:
            self._progress.update(self._tasks[key], completed=event.share, facts=facts(event))
            return
        line = describe(event)
        if event.record is not None:
            self._ended += 1
            self._progress.remove_task(self._tasks.pop(key))
            line = f"{line}  ({self._ended} of {self._count})"
        if line is not None:
            text = visible(f"{title(event.job)}  {line}")
            self._progress.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def title(job: Job) -> str:
    """Name a run for people."""
    options = plain_text(job.spec.shown_options)
    return visible(" ".join(filter(None, (job.spec.variant, options, job.spec.dataset, f"seed {job.spec.seed}"))))


def facts(event: Event) -> str:
    """Say how far a run is: images done, rate, time left, losses."""
    assert event.tick is not None
    meters = event.tick.meters
    rate = meters.images / max(meters.seconds, 1e-9)
    left = meters.seconds * (1 / max(event.share, 1e-9) - 1)
    losses = " ".join(f"{player} {loss:.4g}" for player, loss in event.tick.losses.items())
    return visible(f"{meters.images:,} images  {rate:,.0f}/s  {_clock(left)} left  loss {losses}")


def describe(event: Event) -> str | None:
    """Put a mark, a note or an end into words; None for a start."""
    if event.note:
        return event.note
    if event.mark is not None:
        return f"{event.share:4.0%}  {event.mark.meters.images:,} images  {_values(event.mark.values.items())}"
    if event.record is not None:
        record = event.record
        why = f": {record.error}" if record.error else ""
        return f"{record.status}{why}  {record.meters.images:,} images in {_clock(record.meters.seconds)}"
    return None


def _values(values: Iterable[tuple[str, Value]]) -> str:
    return "  ".join(f"{name} {value.value:.4g}" for name, value in values)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
