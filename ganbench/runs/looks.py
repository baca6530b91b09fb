"""Weights of a run along its way: kept at shares of its budget, beside those of its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.job import Job

if TYPE_CHECKING:  # it imports torch
    from ganbench.training.trainer import Trainer


def look_path(work: Path, share: float) -> Path:
    """Return where the raw weights lie that a run had at a share of its budget."""
    return work / f"at-{share:.6g}.pt"


def shares_kept(work: Path) -> list[float]:
    """Return the shares at which weights lie in the working folder of a run, in order."""
    return sorted(float(path.stem.removeprefix("at-")) for path in work.glob("at-*.pt"))


def lacks_looks(job: Job, record: RunRecord | None, store: ResultStore) -> bool:
    """Whether a run that ended lacks weights which it is to keep, and can only be made again to have them."""
    if not job.keep or record is None or record.status != "done" or record.spec.is_stale:
        return False
    return any(not look_path(store.work(job.spec), share).exists() for share in job.keep)


class Looks:
    """The shares at which a run keeps its weights on its way."""

    def __init__(self, job: Job, work: Path) -> None:
        self.job, self.work = job, work

    def before(self, start: float, end: float) -> list[float]:
        """Return the shares after one mark and up to the next, in order."""
        return [share for share in self.job.keep if start + 1e-9 < share <= end + 1e-9]

    def keep(self, trainer: Trainer, share: float) -> None:
        """Keep the raw weights that a trainer has, which has just come to a share."""
        from ganbench.runs.checkpoint import save_state

        save_state(look_path(self.work, share), {"raw": trainer.variant.state_dict()}, self.job.spec.id)

    def passed(self, state: Mapping[str, Any]) -> float | None:
        """Return the first share that a checkpoint lies beyond and whose weights were not kept, or None."""
        meters = state["trainer"]["meters"]
        if not self.job.keep or not meters["steps"]:
            return None
        from ganbench.training.budget import Meters

        share = self.job.spec.budget.spent(Meters(**meters)) / self.job.spec.budget.amount
        behind = (each for each in self.job.keep if each <= share)
        return next((each for each in behind if not look_path(self.work, each).exists()), None)
