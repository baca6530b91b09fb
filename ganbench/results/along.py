"""What the way of a run is measured in, and where the entries of a trace lie on it. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganbench.results.record import RunRecord
from ganbench.training.budget import Meters

Over = Literal["images", "updates", "seconds", "flops"]
OVER: tuple[Over, ...] = ("images", "updates", "seconds", "flops")
"""What a curve can run over; updates are those of the generator."""


def amount(meters: Meters, over: Over) -> float | None:
    """Return how much of a currency was spent; None of updates where there is no generator."""
    if over == "updates":
        updates = meters.updates_of_generator
        return None if updates is None else float(updates)
    return float(getattr(meters, over))


def along(name: str, entries: int, run: RunRecord, over: Over) -> NDArray[np.float64] | None:
    """Return how much a run had spent at each of the entries of a trace; None where that cannot be said.

    Meters are known at the marks and at the end; between these they are taken to grow evenly.
    """
    stops = [Meters(), *(mark.meters for mark in run.curve), run.meters]
    spent = [amount(meters, over) for meters in stops[1:]]
    if None in spent:
        return None
    known = [0.0, *(float(each or 0) for each in spent)]
    return np.interp(np.arange(1, entries + 1), [_entries(name, entries, run.meters, stop) for stop in stops], known)


def at_marks(name: str, trace: NDArray[Any], run: RunRecord, part: float) -> dict[float, float]:
    """Return by the share of each mark the median of a trace over the last `part` of the entries up to it.

    Over one entry at least; a mark before the first has none. NaN and infinity show in the median of theirs.
    """
    n = len(trace)
    ends = {mark.share: min(n, round(_entries(name, n, run.meters, mark.meters))) for mark in run.curve}
    widths = {share: max(1, round(part * end)) for share, end in ends.items()}
    return {share: float(np.median(trace[end - widths[share] : end])) for share, end in ends.items() if end}


def _entries(name: str, entries: int, end: Meters, stop: Meters) -> float:
    """Return how many entries a trace had at a stop: one an update of its player."""
    kind, _, player = name.partition("/")
    if kind == "log":  # the name does not say whose updates logged it
        player = next((other for other, number in end.updates.items() if number == entries), "")
    if end.updates.get(player):
        return stop.updates.get(player, 0)
    return entries * stop.images / max(1, end.images)


def thinned(numbers: NDArray[Any], width: int) -> list[float]:
    """Return the means of so many numbers each, the last of those left; NaN and infinity show in the mean of theirs."""
    starts = np.arange(0, len(numbers), width)
    counts = np.diff(np.append(starts, len(numbers)))
    with np.errstate(invalid="ignore"):  # infinities of both signs
        parts = np.asarray(numbers, np.float64) / np.repeat(counts, counts)  # the sum might be beyond all numbers
        means: list[float] = np.add.reduceat(parts, starts).tolist() if len(starts) else []
    return means
