"""`ganbench status`: how far the sweeps of a folder of results are, wherever they run."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganbench.cli.group import Command
from ganbench.cli.options import results_option
from ganbench.errors import UserError
from ganbench.streams import show, tell, visible

if TYPE_CHECKING:
    from ganbench.results.progress import Sweep

PERIOD_SECONDS = 2.0
"""How often it is looked again, as often as sweeps write."""
WIDTH = 100
"""Columns where no terminal is."""
MOST = 10
"""So many failures, and rows that wait, are named."""


@click.command(cls=Command)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON, with --watch a line each time.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until no sweep runs any more.")
def command(results: Path, as_json: bool, watch: bool) -> None:
    """Say how far the sweeps of a folder are that `ganbench run` makes in another shell or on another machine.

    It reads what they write about themselves: which runs are being made, by whom, their rate, time left and last
    scores; which wait; what failed and why; and of a sweep that died what the same command would go on with.
    """
    if watch and not as_json:
        _draw(results)
    sweeps, problems = look(results)
    while True:
        show(_json(results, sweeps, problems, indent=None if watch else 1) if as_json else text(results, sweeps))
        if not as_json:
            _tell(problems)
        if not watch or all(sweep.is_over for sweep in sweeps):
            return
        time.sleep(PERIOD_SECONDS)
        sweeps, problems = look(results)


def look(results: Path) -> tuple[list[Sweep], list[str]]:
    """Return the sweeps of a folder, and a sentence for each that is damaged. Raises `UserError` for no results."""
    from ganbench.results.progress import find_sweeps
    from ganbench.results.store import ResultStore

    ResultStore(results)
    if not results.is_dir():
        raise UserError(f"no results in {results}: run `ganbench run` first")
    return find_sweeps(results)


def _tell(problems: list[str]) -> None:
    for problem in problems:
        tell(f"Skipped: {problem}")


def _json(results: Path, sweeps: list[Sweep], problems: list[str], *, indent: int | None) -> str:
    import json

    from ganbench.results.progress import as_json

    found: dict[str, Any] = {"results": str(results), "sweeps": list(map(as_json, sweeps)), "problems": problems}
    return json.dumps(found, indent=indent, ensure_ascii=False)


def text(results: Path, sweeps: list[Sweep], width: int | None = None, height: int = 10_000) -> str:
    """Return what is told of sweeps, in lines that fit a terminal; the command that was given is not cut."""
    if not sweeps:
        return f"no sweep runs in {results}"
    width = width or shutil.get_terminal_size((WIDTH, 24)).columns
    each = max(8, (height - 2 * len(sweeps)) // len(sweeps))
    return "\n\n".join("\n".join(_told(sweep, width, each)) for sweep in sweeps)


def _told(sweep: Sweep, width: int, height: int) -> list[str]:
    from ganbench.cli.screen import counts, cut, left_of, listed, memory_of, one_line, packed, running_lines

    plan, progress = sweep.plan, sweep.progress
    head = [*packed([_state(sweep), *_times(sweep)], width), f"  {visible(plan.command)}"]
    if progress.why:
        head.append(f"  {one_line(progress.why)}")
    told = counts(plan, progress)
    if not sweep.is_over:
        head += packed([*told, left_of(progress), *memory_of(progress.memory)], width)
    else:
        head += packed([part for part in told if not part.endswith((" running", " waiting"))], width)
    lines = _broken_off(sweep, width) if sweep.is_over else running_lines(plan, progress, width, height - len(head))
    failed = _failures(sweep, width)
    waiting = listed(progress.waiting(plan), width, MOST)
    over = [cut(_goes_on(sweep), width)] if sweep.is_over and sweep.unfinished else []
    return [*head, *lines, *failed, *(["waiting:", *waiting] if waiting else []), *over]


def _state(sweep: Sweep) -> str:
    from ganbench.cli.screen import one_line

    words = {
        "running": "running",
        "stopping": "stopping",
        "finished": "finished",
        "stopped": "stopped on request",
        "failed": "failed",
        "still": "stands still",
        "died": "died",
    }
    process = sweep.plan.process
    return f"Sweep {words[sweep.state]} on {one_line(process.host)}, process {process.pid}"


def _times(sweep: Sweep) -> list[str]:
    from ganbench.reports.words import duration

    age = duration(max(0, round((datetime.now(UTC) - sweep.plan.started).total_seconds())))
    sign = "ended" if sweep.progress.state in ("finished", "stopped", "failed") else "last sign of life"
    return [
        f"begun {_moment(sweep.plan.started)}, {age} ago",
        f"{sign} {duration(round(sweep.silent))} ago",
    ]


def _moment(when: datetime) -> str:
    try:
        here = when.astimezone()
    except (OverflowError, OSError, ValueError):  # of a year that this machine's clock does not reach
        here = when
    return f"{here:%H:%M:%S}" if here.date() == datetime.now().astimezone().date() else f"{here:%Y-%m-%d %H:%M}"


def _failures(sweep: Sweep, width: int) -> list[str]:
    from ganbench.cli.screen import cut, one_line

    names = {run.id: run.name for run in sweep.plan.runs}
    failed = [(run, status) for run, status in sweep.progress.ended.items() if status in ("error", "killed")]
    lines = [
        cut(f"  {one_line(names.get(run, run))}: {one_line(sweep.progress.failed.get(run, status))}", 10 * width)
        for run, status in failed[:MOST]
    ]
    more = [f"  … and {len(failed) - MOST:,} more"] if len(failed) > MOST else []
    return ["failed:", *lines, *more] if lines else []


def _broken_off(sweep: Sweep, width: int) -> list[str]:
    from ganbench.cli.screen import one_line, shortened

    names = {run.id: run.name for run in sweep.plan.runs}
    runs = sweep.progress.running
    lines = [shortened(f"  {one_line(names.get(run.id, run.id))}  at {run.share:.0%}", width) for run in runs]
    return ["broken off:", *lines] if lines else []


def _goes_on(sweep: Sweep) -> str:
    """Say what the same command would do."""
    left, begun = sweep.unfinished, {run.id for run in sweep.progress.running}
    failed = len(left & sweep.progress.ended.keys())
    rest = len(left - begun - sweep.progress.ended.keys())
    parts = [
        f"continues {len(left & begun)} broken off" if left & begun else "",
        f"makes {rest} not begun" if rest else "",
        f"tries {failed} failed again" if failed else "",
    ]
    return f"The same command {', '.join(filter(None, parts))}."


def _draw(results: Path) -> None:
    """Show how far the sweeps are on a terminal that can be written anew, until none runs any more; else nothing."""
    from rich.console import Console

    from ganbench.cli.progress import is_live, live_lines

    console, sweeps = Console(stderr=True), look(results)[0]
    if not is_live(console):
        return

    def lines(width: int, height: int) -> list[str]:
        return text(results, sweeps, width, height).split("\n")[:height]

    with live_lines(console, lines):
        while not all(sweep.is_over for sweep in sweeps):
            time.sleep(PERIOD_SECONDS)
            sweeps = look(results)[0]
