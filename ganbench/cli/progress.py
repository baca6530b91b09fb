"""Progress of runs: one screen for a sweep on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.segment import ControlType
from rich.text import Text

from ganbench.cli.following import Following, headline
from ganbench.cli.publish import published
from ganbench.cli.screen import EMPTY, FILLED, clock, cut, screen, shortened, written
from ganbench.contract.types import Value
from ganbench.results.progress import Plan, PlannedRun, begin_plan, number
from ganbench.results.record import FINAL, RunRecord
from ganbench.results.rows import title_of
from ganbench.results.store import ResultStore
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.runs.steps import Step
from ganbench.streams import REPLACED, tell, told_above, visible

PLAIN_WIDTH = 100
"""A line of a mark is at most so wide where no terminal is."""
TITLE_WIDTH = 48
"""Of which the name of the run takes so much."""


class Listener(Protocol):
    """What hears of events."""

    def hear(self, event: Event) -> None:
        """Show one event."""


class Watched:
    """A sweep that is followed: what it hears is shown, and written for `ganbench status`."""

    def __init__(self, following: Following, listener: Listener) -> None:
        self._following, self._listener = following, listener

    def hear(self, event: Event) -> None:
        """Take notice of an event and show it."""
        self._following.hear(event)
        self._listener.hear(event)

    def stopping(self) -> None:
        """Take notice that the runs were asked to stop."""
        self._following.stopping()


@contextmanager
def watched(
    jobs: Sequence[Job],
    found: Mapping[str, RunRecord | None],
    store: ResultStore,
    *,
    parallel: int,
    command: str,
    quiet: bool = False,
) -> Iterator[Watched]:
    """Follow the making of some jobs inside the block: show it as suits standard error, and write it down.

    `found`: records of before, by id, of these jobs and of those that are complete. `quiet`: show failures and notes
    alone.
    """
    following = Following(jobs, found, parallel)
    if not jobs:
        yield Watched(following, Quiet())
        return
    runs = [PlannedRun(job.spec.id, title(job), job.spec.seed) for job in jobs]
    plan = begin_plan(command, parallel, runs, known=len(found.keys() - {run.id for run in runs}))
    console = Console(stderr=True)
    with published(following, plan, store):
        if quiet:
            yield Watched(following, Quiet())
        elif not is_live(console):
            yield Watched(following, PlainLines(len(jobs)))
        else:
            with live_screen(console, following, plan) as listener:
                yield Watched(following, listener)


def is_live(console: Console) -> bool:
    """Whether what stands on a console can be written anew."""
    return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal


@contextmanager
def steps_shown() -> Iterator[Callable[[Step], object]]:
    """Show on a terminal what is being done inside the block, with a bar where it is known how much of it is done."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[facts]}")]
    bar = BarColumn(bar_width=24)
    with Progress(texts[0], bar, texts[1], console=Console(stderr=True), refresh_per_second=4) as progress:
        task = progress.add_task("starting", total=None, facts="")

        def show(step: Step) -> None:
            share = "" if step.share is None else f"{step.share:4.0%}"
            total = None if step.share is None else 1.0
            progress.update(task, description=visible(step.what), total=total, completed=step.share, facts=share)

        yield show


class Quiet:
    """Nothing but notes and failures."""

    def hear(self, event: Event) -> None:
        """Print what is wrong."""
        if event.note or (event.record is not None and event.record.status not in FINAL):
            tell(f"{title(event.job)}  {described(event)}")


class PlainLines:
    """A line for each start, mark, note and end."""

    def __init__(self, count: int) -> None:
        self._count, self._ended = count, 0
        self._started: set[str] = set()

    def hear(self, event: Event) -> None:
        """Print what is worth a line; ticks are not."""
        if event.tick is not None or event.put_off:
            return
        if event.mark is not None:
            tell(mark_line(event, PLAIN_WIDTH))
            return
        line = described(event)
        if event.record is not None:
            self._ended += 1
            line = f"{line}  ({self._ended} of {self._count})"
        elif not line:
            if event.job.spec.id in self._started:  # put off, because another command was making it
                return
            self._started.add(event.job.spec.id)
            line = f"started ({len(self._started)} of {self._count})"
        tell(f"{title(event.job)}  {line}")


class LiveLines:
    """What stays on a terminal above the screen: notes, and a line for each run that ends."""

    def __init__(self, count: int) -> None:
        self._count, self._ended = count, 0

    def hear(self, event: Event) -> None:
        """Print what stays."""
        if event.record is not None:
            self._ended += 1
            tell(f"{title(event.job)}  {described(event)}  ({self._ended} of {self._count})")
        elif event.note:
            tell(f"{title(event.job)}  {event.note}")


@contextmanager
def live_screen(console: Console, following: Following, plan: Plan) -> Iterator[LiveLines]:
    """Show how far a sweep is on a terminal inside the block, and what is told meanwhile above that."""
    with live_lines(console, lambda width, height: screen(plan, following.progress(), width, height)):
        yield LiveLines(len(plan.runs))


@contextmanager
def live_lines(console: Console, lines: Callable[[int, int], list[str]]) -> Iterator[None]:
    """Show lines on a terminal inside the block, written anew four times a second, and take them away in the end.

    `lines`: gives them for a width and a height, at most so many and so wide.
    """
    shown = _Shown(console, lines)
    with (
        Live(console=console, get_renderable=shown.text, refresh_per_second=4, transient=True) as live,
        told_above(shown.print),
    ):
        console.show_cursor(True)  # else a command that is killed or paused leaves none
        live.refresh()
        yield


class _Shown:
    """Lines that a terminal shows, laid out for the size that it has by now."""

    def __init__(self, console: Console, lines: Callable[[int, int], list[str]]) -> None:
        self._console, self._lines = console, lines
        self._last: list[str] = []
        self._width = console.width

    def text(self) -> Text:
        """Return the lines as they are now."""
        width, height = self._console.size
        if width < self._width:
            self._wipe(width)
        lines = self._lines(max(1, width - 1), max(1, height - 1))  # a line as wide as the terminal may wrap
        self._last, self._width = [self._spelt(line, width - 1) for line in lines], width
        text = Text("\n".join(self._last), no_wrap=True, overflow="crop", end="")
        text.highlight_regex(f"{FILLED}+", "green")
        text.highlight_regex(rf"{EMPTY}{{2,}}", "bright_black")
        text.highlight_regex(r"\d+ failed", "red")
        return text

    def print(self, text: str) -> None:
        """Print a text above the lines."""
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _wipe(self, width: int) -> None:
        """Take away what the lines have more, now that the terminal has broken those that are too wide for it."""
        more = sum((max(1, len(line)) - 1) // width for line in self._last)
        one = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self._console.control(Control(ControlType.CARRIAGE_RETURN, *one * more))

    def _spelt(self, line: str, width: int) -> str:
        encoding = self._console.encoding
        return cut(visible(line).encode(encoding, REPLACED).decode(encoding), width)


def title(job: Job) -> str:
    """Name a run for people."""
    return visible(title_of(job.spec))


def described(event: Event) -> str:
    """Put a note or an end into words; nothing for a start."""
    if event.record is None:
        return event.note
    record = event.record
    status = f"{record.status}: {record.error}" if record.error else record.status
    values = scores({name: found[0] for name, found in record.values.items() if found}, event.job.metrics)
    spent = f"{record.meters.images:,} images in {clock(record.meters.seconds)}"
    return "  ".join([status, *values[:2], spent])


def mark_line(event: Event, width: int) -> str:
    """Put a mark into one line: the run, the share of its budget, and as many scores as there is room for."""
    assert event.mark is not None
    line = f"{shortened(title(event.job), TITLE_WIDTH)}  {event.share:4.0%}  {event.mark.meters.images:,} images"
    for score in scores(event.mark.values, event.job.metrics):
        if len(line) + 2 + len(score) > width:
            break
        line += f"  {score}"
    return line


def scores(values: Mapping[str, Value], metrics: Sequence[str]) -> list[str]:
    """Return the values of a mark as text, those of the metrics that were asked for first."""
    return [f"{name} {written(number(value))}" for name, value in headline(values, metrics).items()]
