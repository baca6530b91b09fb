"""How long what is left of a sweep will take, from what its runs have taken so far."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from statistics import fmean

from ganbench.contract.types import digest
from ganbench.runs.job import Job


class Costs:
    """Seconds that whole runs took, and what those took that had an end already and were only scored once more."""

    def __init__(self) -> None:
        self._whole: dict[tuple[str, ...], list[float]] = {}
        self._scored: list[float] = []

    def add(self, job: Job, seconds: float, share: float) -> None:
        """Take note that a run took so long for a share of its budget, 0 where it was only scored."""
        if share <= 0:
            self._scored.append(seconds)
        for kind in _kinds(job) if share > 0 else ():
            self._whole.setdefault(kind, []).append(seconds / share / job.spec.budget.amount)

    def of(self, job: Job, share: float) -> float | None:
        """Return how long a share of a run will take: as its like did, else as other variants did in the same place.

        None where nothing is known of either.
        """
        if share <= 0:
            return fmean(self._scored) if self._scored else None
        known = next((kind for kind in _kinds(job) if kind in self._whole), None)
        return None if known is None else fmean(self._whole[known]) * job.spec.budget.amount * share


def _kinds(job: Job) -> list[tuple[str, ...]]:
    """Return what a run is like: runs the same but for seed and budget, then any of the same place and currency."""
    spec = job.spec
    place = (job.dataset, spec.backbone, str(spec.size), str(spec.batch), spec.precision, spec.budget.unit)
    return [(spec.variant, digest(dict(spec.shown_options)), *place), place]


def makespan(running: Sequence[float | None], waiting: Sequence[float | None], parallel: int) -> float | None:
    """Return the seconds until the last of some runs ends, of which the next begins wherever one has ended.

    `running`, `waiting`: the seconds that each still takes; None, and so is the result, where one is not known.
    """
    left = [seconds for seconds in (*running, *waiting) if seconds is not None]
    if len(left) < len(running) + len(waiting):
        return None
    slots = left[: len(running)] + [0.0] * (parallel - len(running))
    heapq.heapify(slots)
    for seconds in left[len(running) :]:
        heapq.heapreplace(slots, slots[0] + seconds)
    return max(slots, default=0.0)
