"""What is known of a sweep under way: it hears of its runs' events and says at any moment how far it is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean

from ganbench.cli.estimate import Costs, makespan
from ganbench.contract.types import Value
from ganbench.results.progress import Memory, Phase, Progress, Running, number
from ganbench.results.record import FINAL, RunRecord, Status
from ganbench.results.rows import last_line
from ganbench.runs.executors.worker import WAITING, Event
from ganbench.runs.job import Job
from ganbench.training.budget import Tick

RATE_SECONDS = 10.0
"""Over the last so many seconds of training the rate is measured."""
LONGEST_REASON = 500
MOST_FAILED = 100
"""Of so many failures the reasons are kept beside their records."""


class Following:
    """A sweep of some jobs. `found`: their records of before, by id; `clock`: seconds, of which differences are taken.

    It may be asked from another thread than that which tells it of events.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        found: Mapping[str, RunRecord | None],
        parallel: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.memory: Memory | None = None
        self._jobs, self._parallel, self._clock = {job.spec.id: job for job in jobs}, parallel, clock
        self._found = {run: record for run in self._jobs if (record := found.get(run)) is not None}
        self._running: dict[str, _Run] = {}
        self._ended: dict[str, Status] = {}
        self._failed: dict[str, str] = {}
        self._costs, self._scorings = Costs(), list[float]()
        self._stopping = False
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        """Take notice of an event."""
        run, now = event.job.spec.id, self._clock()
        with self._lock:
            if event.put_off:
                self._running.pop(run, None)
                return
            if event.record is not None:
                self._end(run, event.record, now)
                return
            state = self._running.get(run)
            if state is None:
                if event.note:  # of one that waits for its turn
                    return
                state = self._running[run] = _Run(event.job, self._found.get(run), now)
            if event.tick is not None:
                state.tick(event.share, event.tick, now)
            elif event.mark is not None:
                self._scorings += state.mark(event.mark.values, now)
            elif event.note == WAITING:
                state.waits = state.waited = True

    def stopping(self) -> None:
        """Take notice that the runs were asked to stop."""
        self._stopping = True

    def _end(self, run: str, record: RunRecord, now: float) -> None:
        state = self._running.pop(run, None)
        self._ended[run] = record.status
        if record.status not in FINAL and len(self._failed) < MOST_FAILED:
            self._failed[run] = last_line(record.error)[:LONGEST_REASON]
        if state is not None and record.status == "done" and not state.waited:
            self._costs.add(state.job, now - state.began, 1 - state.share_before)

    def progress(self) -> Progress:
        """Return how far the sweep is now."""
        with self._lock:
            now = self._clock()
            running = {run: state.left(now, self._scorings) for run, state in self._running.items()}
            return Progress(
                at=datetime.now(UTC),
                state="stopping" if self._stopping else "running",
                running=[state.shown(running[run]) for run, state in self._running.items()],
                ended=dict(self._ended),
                failed=dict(self._failed),
                left=None if self._stopping else self._left(running, now),
                memory=self.memory,
            )

    def _left(self, running: Mapping[str, float | None], now: float) -> float | None:
        """Return the seconds to the end of the sweep, judged by the runs that have ended, else by those that run."""
        guess = Costs()
        for run, left in running.items():
            state = self._running[run]
            if left is not None and state.share > state.share_before:
                guess.add(state.job, now - state.began + left, 1 - state.share_before)

        def cost(run: str) -> float | None:
            job, share = self._jobs[run], 1 - _share(self._found.get(run))
            known = self._costs.of(job, share)
            return guess.of(job, share) if known is None else known

        def rest(run: str, left: float | None) -> float | None:
            if left is not None or (whole := cost(run)) is None:
                return left
            return max(0.0, whole - (now - self._running[run].began))

        waiting = [cost(run) for run in self._jobs if run not in self._running and run not in self._ended]
        return makespan([rest(run, left) for run, left in running.items()], waiting, self._parallel)


class _Run:
    """A run under way. `share_before`: what of its budget was spent when it began; `waits`: for another command.

    `waited`: whether it ever did, so that its time is not its own.
    """

    def __init__(self, job: Job, record: RunRecord | None, now: float) -> None:
        self.job, self.began, self.since = job, now, datetime.now(UTC)
        self.share = self.share_before = _share(record)
        self.waits = self.waited = False
        self._marks = len(record.curve) if record is not None else 0
        self._first: tuple[float, float] | None = None  # share and seconds of training at the first tick
        self._last = now
        self._recent = deque[tuple[int, float]](maxlen=1000)
        self._tick: Tick | None = None
        self._scores = headline(record.curve[-1].values, job.metrics) if record is not None and record.curve else {}

    def tick(self, share: float, tick: Tick, now: float) -> None:
        """Take notice of a tick."""
        if self._first is None:
            self._first = (share, tick.meters.seconds)
        self.share, self._last, self._tick, self.waits = share, now, tick, False
        self._recent.append((tick.meters.images, tick.meters.seconds))
        while len(self._recent) > 2 and self._recent[1][1] < tick.meters.seconds - RATE_SECONDS:
            self._recent.popleft()

    def mark(self, values: Mapping[str, Value], now: float) -> list[float]:
        """Take notice of a mark, and return how long it was scored where that is known."""
        self._marks, self._scores = self._marks + 1, headline(values, self.job.metrics)
        took, self._last = now - self._last, now
        return [took] if self._tick is not None else []

    @property
    def phase(self) -> Phase:
        """What the run is at; it is being scored from the tick that reached a mark to the next."""
        if self.waits:
            return "waiting"
        if self.share_before >= 1:
            return "scoring"
        if self._tick is None:
            return "starting"
        return "scoring" if self.share >= (self._marks + 1) / self.job.marks - 1e-9 or self.share >= 1 else "training"

    def left(self, now: float, scorings: Sequence[float]) -> float | None:
        """Return the seconds to its end; `scorings`: how long marks were scored so far."""
        if self._tick is None or self._first is None or self.waits:
            return None
        (share, seconds), meters = self._first, self._tick.meters
        if self.share > share:
            pace = (meters.seconds - seconds) / (self.share - share)
        else:
            pace = meters.seconds / max(self.share, 1e-9)
        marks = max(0, self.job.marks - self._marks) * (fmean(scorings) if scorings else 0.0)
        return max(0.0, max(0.0, 1 - self.share) * pace + marks - (now - self._last))

    def shown(self, left: float | None) -> Running:
        """Return what is told of the run."""
        images, losses = 0, {}
        if self._tick is not None:
            images = self._tick.meters.images
            losses = {player: number(loss) for player, loss in self._tick.losses.items()}
        scores = {name: number(value) for name, value in self._scores.items()}
        rate = self._rate()
        return Running(self.job.spec.id, self.since, self.phase, self.share, images, rate, left, losses, scores)

    def _rate(self) -> float | None:
        """Return the images a second of late, while it was trained."""
        if self._tick is None:
            return None
        (images, seconds), (now, until) = self._recent[0], self._recent[-1]
        if until > seconds:
            return max(0.0, (now - images) / (until - seconds))
        return self._tick.meters.images / self._tick.meters.seconds if self._tick.meters.seconds > 0 else None


def headline(values: Mapping[str, Value], metrics: Sequence[str], most: int = 4) -> dict[str, float]:
    """Return the first of a mark's values, of the metrics that were asked for, in their order; else any."""
    names = [name for name in metrics if name in values] or list(values)
    return {name: values[name].value for name in names[:most]}


def _share(record: RunRecord | None) -> float:
    """Return how much of its budget a run has behind it that the same command goes on with."""
    if record is None or record.spec.is_stale:
        return 0.0
    if record.status in FINAL:
        return 1.0
    return record.curve[-1].share if record.curve else 0.0
