"""An order: one run that an executor is given, and what makes it wherever the executor takes it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

from ganbench.contract.executors import Depot, Order
from ganbench.errors import DiskError, UserError
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.code import HARNESS
from ganbench.runs.executors.carrying import RunDepot, carried
from ganbench.runs.executors.limits import NO_LIMITS, Limits
from ganbench.runs.executors.local import fallen, has_checkpoint, name_of, run_all
from ganbench.runs.executors.news import Follower, Journal
from ganbench.runs.executors.travelling import Luggage, unpacked
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.runs.registry import FILE

NEWS = "news-"
"""How the names of files with news begin, in the working folder of a run."""


@dataclass
class RunOrder(Order):
    """See `Order`. `attempt`: names its news among those of earlier commands; `modules`: what local runs must import.

    `luggage`: the plugins that are files.
    """

    job: Job
    results: Path
    limits: Limits = NO_LIMITS
    luggage: Luggage = field(default_factory=Luggage)
    modules: Mapping[str, str] = field(default_factory=dict)
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        self._follower: Follower | None = None

    @property
    def run(self) -> str:
        """See `Order.run`."""
        return self.job.spec.id

    @property
    def name(self) -> str:
        """See `Order.name`."""
        return name_of(self.job)

    @property
    def distributions(self) -> frozenset[str]:
        """See `Order.distributions`."""
        origins = [distribution for _, distribution in self.job.origins]
        if not origins:  # any may be loaded
            origins = [point.dist.name for point in entry_points(group="ganbench") if point.dist]
        return frozenset({HARNESS, *origins} - {FILE})

    def make(
        self,
        *,
        threads: int = 0,
        at_once: int = 1,
        stopping: Callable[[], bool] = lambda: False,
        depot: Depot | None = None,
    ) -> bool:
        """See `Order.make`."""
        if depot is not None:

            def make(results: Path, stopping: Callable[[], bool]) -> bool:
                here = replace(self, results=results)
                return here.make(threads=threads, at_once=at_once, stopping=stopping)

            return carried(self.job.spec, self._path, depot, make, stopping)
        journal, ended = Journal(self._path), False
        try:
            with unpacked(self.luggage, self.job) as job:
                running = run_all(
                    [replace(job, at_once=at_once)],
                    self.results,
                    parallel=1,
                    limits=self.limits,
                    threads=threads,
                    stopping=stopping,
                )
                with closing(running) as events:
                    for event in events:
                        journal.write(event)
                        ended = event.ended
        except UserError as error:
            journal.fail(str(error))
            return True
        return ended

    def depot(self) -> RunDepot:
        """See `Order.depot`."""
        return RunDepot(ResultStore(self.results), self.job.spec, self._path)

    def news(self) -> Sequence[Event]:
        """See `Order.news`."""
        self._follower = self._follower or Follower(self._path, self.job)
        found = [self.lost(event) if isinstance(event, str) else event for event in self._follower.read()]
        if any(event.ended for event in found):
            self._clear()
        return [replace(event, job=self.job) for event in found]

    def note(self, text: str) -> Event:
        """See `Order.note`."""
        return Event(self.job, note=text)

    def lost(self, why: str) -> Event:
        """See `Order.lost`."""
        store = ResultStore(self.results)
        goes_on = "continues it from its checkpoint" if has_checkpoint(self.job, store) else "begins it anew"
        why = f"{why}; the same command {goes_on}"
        with store.lock(self.job.spec, blocking=False) as free:
            if free:
                return Event(self.job, record=fallen(self.job, store, why))
        found = store.get(self.job.spec) or RunRecord(self.job.spec, "killed")
        # Another command makes it now, whose record is not to be touched.
        return Event(self.job, record=replace(found, status="killed", error=why))

    def __getstate__(self) -> dict[str, object]:
        """Let it travel without what is read here."""
        return {**vars(self), "_follower": None, "modules": {}}

    @property
    def _path(self) -> Path:
        return ResultStore(self.results).work(self.job.spec) / f"{NEWS}{self.attempt}.jsonl"

    def _clear(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"cannot remove {self._path}: {error.strerror or error}") from error
