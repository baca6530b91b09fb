"""Weights of a run along its way: kept at shares of its budget, beside those of its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.job import Job
from ganbench.training.budget import Meters

if TYPE_CHECKING:  # it imports torch
    from ganbench.training.trainer import Trainer


def look_path(work: Path, share: float) -> Path:
    """Return where the raw weights lie that a run had at a share of its budget."""
    return work / f"at-{share:.6g}.pt"


def shares_kept(work: Path) -> list[float]:
    """Return the shares at which weights lie in the working folder of a run, in order."""
    found = list[float]()
    for path in work.glob("at-*.pt"):
        with suppress(ValueError):  # another file of such a name
            found.append(float(path.name.removeprefix("at-").removesuffix(".pt")))
    return sorted(found)


def lacks_looks(job: Job, record: RunRecord | None, store: ResultStore) -> bool:
    """Whether a run that ended lacks weights which it is to keep, and can only be made again to have them."""
    if not job.keep or record is None or record.status != "done" or record.spec.is_stale:
        return False
    work = store.root / ".work" / job.spec.id  # which is not made here: the folder may be for reading alone
    return any(not look_path(work, share).exists() for share in job.keep)


class Looks:
    """The shares at which a run keeps its weights on its way."""

    def __init__(self, job: Job, work: Path) -> None:
        self.job, self.work = job, work

    def stops(self, trainer: Trainer, start: float, end: float) -> list[float]:
        """Return up to where to train after one mark, in order: the shares that a trainer is not beyond, the next mark.

        What it has come to already was kept before it was stopped, and is not the state that it is in now.
        """
        done = self._share(trainer.meters)
        return [*(share for share in self.job.keep if max(start, done) < share < end), end]

    def keep(self, trainer: Trainer, until: float) -> None:
        """Keep the raw weights of a trainer that has just come to a share, for all that are asked for up to there."""
        come = 1.0 if _takes_no_step(trainer) else self._share(trainer.meters)
        if come < until or trainer.diverged:
            return
        from ganbench.runs.checkpoint import save_state

        # A step may come to several at once; then the others are not behind a checkpoint that is made of it.
        for share in self.job.keep:
            if share == until or until < share <= come:
                save_state(look_path(self.work, share), {"raw": trainer.variant.state_dict()}, self.job.spec.id)

    def passed(self, state: Mapping[str, Any]) -> float | None:
        """Return the first share that a checkpoint lies beyond and whose weights were not kept, or None."""
        meters = state["trainer"]["meters"]
        if not self.job.keep or not meters["steps"]:
            return None
        share = self._share(Meters(**meters))
        behind = (each for each in self.job.keep if each <= share)
        return next((each for each in behind if not look_path(self.work, each).exists()), None)

    def _share(self, meters: Meters) -> float:
        return self.job.spec.budget.spent(meters) / self.job.spec.budget.amount


def _takes_no_step(trainer: Trainer) -> bool:
    from ganbench.contract.variant import Control

    return isinstance(trainer.variant, Control)
