"""A sweep in lines of text that fit a terminal of any size: for the screen of `run`, and for `status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len

from ganbench.reports.words import memory
from ganbench.results.progress import Memory, Number, Plan, PlannedRun, Progress, Running
from ganbench.streams import visible

FILLED, EMPTY = "━", "·"
WIDE = 140
"""From so many columns on a run takes one line, below that two."""
_LEFT = 16
"""Columns of the time that is left to a run."""
_TITLE = 60
"""Columns of its name, where its losses and scores follow on the same line."""


def screen(plan: Plan, progress: Progress, width: int, height: int) -> list[str]:
    """Return how far a sweep is in at most `height` lines of at most `width` columns: counts, then runs."""
    head = packed([*counts(plan, progress), left_of(progress), *memory_of(progress.memory)], width)[:height]
    return [*head, *running_lines(plan, progress, width, height - len(head))]


def running_lines(plan: Plan, progress: Progress, width: int, height: int) -> list[str]:
    """Return the runs that are being made, a line or two each, those first that have room, and how many more there are.

    Of those that wait for another command the last are left out first.
    """
    names = {run.id: run.name for run in plan.runs}
    runs = sorted(progress.running, key=lambda run: run.phase == "waiting")
    each = 1 if width >= WIDE or 2 * len(runs) > height else 2
    shown = runs if each * len(runs) <= height else runs[: max(0, height - 1)]
    bar = 12 if width < 100 else 20
    room = min(width - bar - _LEFT - 9, _TITLE if width >= WIDE else width)
    titles = [one_line(names.get(run.id, run.id)) for run in shown]
    column = max(0, min(room, max(map(cell_len, titles), default=0)))
    lines = []
    for run, title in zip(shown, titles, strict=True):
        line = f"{padded(shortened(title, column), column)}  {_bar(run.share, bar)} {run.share:4.0%}  {_left(run)}"
        known = facts(run)
        if each == 1:
            left = padded(line, column + bar + _LEFT + 9)
            lines.append(packed([left, *known], width)[0].rstrip())
        else:
            lines += [cut(line, width), *(cut(f"  {found}", width) for found in packed(known, width - 2)[:1])]
    more = len(runs) - len(shown)
    return [*lines, *([cut(f"… and {more} more", width)] if more else [])][: max(0, height)]


def counts(plan: Plan, progress: Progress) -> list[str]:
    """Return how many runs there are of each kind."""
    number = progress.counts(plan)
    rest = [f"{number[kind]:,} {kind}" for kind in ("diverged", "failed", "running", "waiting") if number[kind]]
    before = f", {plan.known:,} before" if plan.known else ""
    return [f"{number['done']:,} of {len(plan.runs):,} done{before}", *rest]


def left_of(progress: Progress) -> str:
    """Say how long the sweep will take; an ellipsis where that is not known yet."""
    if progress.state == "stopping":
        return "stopping"
    return f"{'…' if progress.left is None else clock(progress.left)} left"


def memory_of(used: Memory | None) -> list[str]:
    """Say what memory is in use, where that can be told."""
    if used is None:
        return []
    return [f"memory {memory(used.command)}, machine {memory(used.machine)} of {memory(used.total)}"]


def facts(run: Running) -> list[str]:
    """Return what is known of a run's training, what matters most first."""
    found = [] if run.rate is None else [f"{run.rate:,.0f} images/s" if run.rate >= 10 else f"{run.rate:.2g} images/s"]
    losses = _pairs(run.losses)
    if losses:
        losses[0] = f"loss {losses[0]}"
    return [*found, *losses[:2], *_pairs(run.scores), *losses[2:]]


def _pairs(numbers: Mapping[str, Number]) -> list[str]:
    return [f"{one_line(name)} {written(number)}" for name, number in numbers.items()]


def written(number: Number) -> str:
    """Write a number with four digits; one that is none stays what it is."""
    return number if isinstance(number, str) else f"{number:.4g}"


def _left(run: Running) -> str:
    if run.phase == "waiting":
        return "made elsewhere"
    if run.phase == "starting":
        return "starting"
    left = "…" if run.left is None else clock(run.left)
    return f"scoring, {left}" if run.phase == "scoring" else f"{left} left"


def _bar(share: float, width: int) -> str:
    filled = round(min(1.0, share) * width)
    return FILLED * filled + EMPTY * (width - filled)


def clock(seconds: float) -> str:
    """Write seconds as `1:02`, from an hour on as `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listed(runs: Sequence[PlannedRun], width: int, most: int) -> list[str]:
    """Return the names of runs, those that differ in their seed alone together, and how many more there are."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(one_line(run.name).removesuffix(f" seed {run.seed}"), []).append(run.seed)
    lines = [shortened(f"  {name}  {_seeds(found)}", width) for name, found in list(seeds.items())[:most]]
    rest = sum(map(len, list(seeds.values())[most:]))
    return [*lines, *([f"  … and {rest:,} more"] if rest else [])]


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


# Fitting


def packed(parts: Iterable[str], width: int) -> list[str]:
    """Lay parts side by side on as few lines as they need; none is broken, and one that is too long is cut."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 2 + cell_len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(cut(part, width))
    return lines


def padded(text: str, width: int) -> str:
    """Fill a text up with blanks."""
    return text + " " * max(0, width - cell_len(text))


def cut(text: str, width: int) -> str:
    """Return as much of a text as has room."""
    while text and cell_len(text) > width:
        text = text[: len(text) - max(1, (cell_len(text) - width) // 2)]
    return text


def shortened(text: str, width: int) -> str:
    """Leave out as much of a text's middle as has no room, for what tells runs apart is at both ends."""
    if cell_len(text) <= width:
        return text
    end = max(0, (width - 1) // 2)
    tail = cut(text[::-1], end)[::-1]
    return cut(f"{cut(text, max(0, width - 1 - cell_len(tail)))}…", width - cell_len(tail)) + tail


def one_line(text: str) -> str:
    """Show a text that came from elsewhere on one line."""
    return " ".join(visible(text).split())
