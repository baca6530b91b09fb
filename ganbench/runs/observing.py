"""Observers at work: each has a thread and a queue of its own, so that no run waits for one and none harms another."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

from ganbench.contract.observers import THREAD, Happening, ObservedRun, RunTicked, SweepEnded, SweepStarted
from ganbench.errors import UserError
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.blame import reason_of
from ganbench.runs.executors.starting import STOPPING
from ganbench.runs.executors.worker import Event
from ganbench.runs.happenings import ended, happening, observed_run, started
from ganbench.runs.job import Job
from ganbench.runs.observers import Asked
from ganbench.streams import tell

MOST_WAITING = 256
"""Where so many events wait for an observer, ticks are left out; marks and ends never are."""
CLOSE_SECONDS = 60.0
"""How long the command waits at its end until all observers have written what they heard."""
QUIET_SECONDS = 2.0
"""How long it does so before it says that it does."""


class Delivery:
    """Hands events to one observer, in a thread in which it is opened as well. One that fails hears no more."""

    def __init__(self, asked: Asked, tell: Callable[[str], object] = tell) -> None:
        self.asked, self._tell = asked, tell
        self.left_out = 0
        self._waiting: deque[Happening | None] = deque()
        self._news = threading.Condition()
        self._given_up = False
        self._thread = threading.Thread(target=self._deliver, name=f"{THREAD}{asked.observer.name}", daemon=True)
        self._thread.start()

    def put(self, event: Happening) -> None:
        """Let the observer hear of an event as soon as it can; a tick is left out where too many wait."""
        with self._news:
            if isinstance(event, RunTicked) and len(self._waiting) >= MOST_WAITING:
                self.left_out += 1
            elif self._thread.is_alive() and not self._given_up:
                self._waiting.append(event)
                self._news.notify()

    def end(self) -> None:
        """Let the thread end when the observer has heard all that waits."""
        with self._news:
            self._waiting.append(None)
            self._news.notify()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most until the observer is done, and return whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def give_up(self, why: str) -> None:
        """Leave the observer out from now on and say so, once."""
        with self._news:
            said, self._given_up = self._given_up, True
            self._waiting.clear()
        if not said:
            self._tell(f"Note: {self.asked.title} is left out from here on, and the runs go on without it: {why}")

    def _deliver(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # the main thread hears them
        try:
            hear = self.asked.observer.open(self.asked.argument)
            while (event := self._next()) is not None:
                hear(event)
        except BaseException as error:  # a stranger's code may fail in any way, and the runs go on
            self.give_up(self.asked.hidden(_reason(error, self.asked)))

    def _next(self) -> Happening | None:
        with self._news:
            while not self._waiting:
                if self._given_up:
                    return None
                self._news.wait()
            return self._waiting.popleft()


def _reason(error: BaseException, asked: Asked) -> str:
    return str(error) if isinstance(error, UserError) else reason_of(error, asked.entry.files)


@contextmanager
def observed(
    asked: Sequence[Asked], jobs: Sequence[Job], store: ResultStore, command: str
) -> Iterator[Callable[[Event], None]]:
    """Let observers hear of the making of jobs inside the block, which is given what takes the executor's events.

    `command`: the request in words. At the end of the block, however it comes, runs that were begun and have no end are
    told as their records hold them, and what is left is waited for, `CLOSE_SECONDS` at most.
    """
    if not asked or not jobs:
        yield lambda event: None
        return
    sweep = _Sweep([Delivery(each) for each in asked], jobs, store, command)
    stopped = True
    try:
        yield sweep.hear
        stopped = False
    finally:
        sweep.end(stopped=stopped)


class _Sweep:
    """What observers have been told of so far."""

    def __init__(self, deliveries: Sequence[Delivery], jobs: Sequence[Job], store: ResultStore, command: str) -> None:
        self._deliveries, self._store, self._command = deliveries, store, command
        self._runs = {job.spec.id: observed_run(job) for job in jobs}
        self._before: dict[str, RunRecord | None] = {}
        self._begun: dict[str, Job] = {}
        self._marked: dict[str, float] = {}
        self._statuses: Counter[str] = Counter()
        self._tell(SweepStarted(tuple(self._runs.values()), command, str(store.root)))

    def hear(self, event: Event) -> None:
        """Pass news of a run on; its start is told with the first, since another command may be making it."""
        run = self._runs[event.job.spec.id]
        told = happening(run, event, self._store)
        if told is None:
            if not event.note:
                self._before[run.id] = self._record(event.job)
            return
        self._begin(run, event.job)
        self._tell(told)
        if event.mark is not None:
            self._marked[run.id] = event.mark.share
        if event.record is not None:
            del self._begun[run.id]
            self._statuses[event.record.status] += 1

    def _begin(self, run: ObservedRun, job: Job) -> None:
        if run.id not in self._begun:
            before = self._before.get(run.id)
            self._begun[run.id] = job
            self._marked[run.id] = before.curve[-1].share if before is not None and before.curve else 0.0
            self._tell(started(run, before, self._command))

    def _record(self, job: Job) -> RunRecord | None:
        with suppress(UserError):  # it is for the run to say so
            return self._store.get(job.spec)
        return None

    def end(self, *, stopped: bool) -> None:
        """Tell of the marks and ends that nobody has told of, and of the end of all; then wait."""
        for id_, job in self._begun.items():
            if (record := self._record(job)) is not None:
                self._complete(self._runs[id_], job, record)
        self._tell(SweepEnded(MappingProxyType(dict(self._statuses)), stopped))
        for delivery in self._deliveries:
            delivery.end()
        _wait(self._deliveries)

    def _complete(self, run: ObservedRun, job: Job, record: RunRecord) -> None:
        """Tell what became of a run after it was asked to stop: it may have been scored once more."""
        for mark in record.curve:
            news = happening(run, Event(job, mark.share, mark=mark), self._store)
            if news is not None and mark.share > self._marked[run.id]:
                self._tell(news)
        self._tell(ended(run, record))
        self._statuses[record.status] += 1

    def _tell(self, event: Happening) -> None:
        for delivery in self._deliveries:
            delivery.put(event)


def _wait(deliveries: Sequence[Delivery]) -> None:
    begun = time.monotonic()
    late = [each for each in deliveries if not each.wait(max(0.0, begun + QUIET_SECONDS - time.monotonic()))]
    if late:
        names = ", ".join(each.asked.title for each in late)
        tell(f"Waiting for {names} to write what it heard, {CLOSE_SECONDS:.0f} seconds at most.")
    for each in late:
        if not each.wait(max(0.0, begun + CLOSE_SECONDS - time.monotonic())):
            each.give_up(f"it had not ended {CLOSE_SECONDS:g} seconds after the runs")
    for each in deliveries:
        if each.left_out:
            tell(f"Note: {each.asked.title}: {each.left_out:,} ticks were left out, because it is slower than the runs")
