"""Many runs: one process each, side by side where asked, none able to take the others down."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from ganbench.contract.types import UNAVAILABLE
from ganbench.errors import UserError
from ganbench.results.record import FINAL, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.executors.child import Child, ready, start
from ganbench.runs.executors.limits import NO_LIMITS, Held, Limiter, Limits
from ganbench.runs.executors.output import Output, opened
from ganbench.runs.executors.starting import STOPPING
from ganbench.runs.executors.worker import BEGUN, Event, work
from ganbench.runs.job import Job, unscored_metrics
from ganbench.training.budget import Meters
from ganbench.training.devices import cores

GRACE_SECONDS = 60.0
"""How long a run that is asked to stop may take to write its checkpoint."""
LOOK_SECONDS = 0.5
"""How often runs are looked at that say nothing."""


@dataclass
class _Worker(Child):
    """A run's process, what it prints, and what it is held to."""

    job: Job
    output: Output
    held: Held

    def end(self, *, failed: bool = False) -> None:
        """Let the process end, and take with it what it leaves behind. `failed`: it had no last word."""
        self.leave()
        self.held.end()
        self.kill()
        self.output.close(failed=failed)


def run_all(
    jobs: Sequence[Job],
    results: Path,
    *,
    parallel: int,
    limits: Limits = NO_LIMITS,
    modules: Mapping[str, str] | None = None,
    devices: Sequence[str] = (),
    threads: int = 0,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[Event]:
    """Carry out jobs, at most `parallel` at once on each device with the cores shared out, and yield what happens.

    `devices`: over which they are dealt, each to the one with the fewest; by default each to its own. `threads`: of a
    run, by default its share of the cores. `stopping`: asked twice a second, whether to do what closing does.

    A run that another command is making at the moment is put off to the end and then waited for. Closing the iterator
    stops the running ones, which write their checkpoints first. One that goes beyond its limits is ended, and its
    record says so. `modules`: files of modules that the jobs were planned with. Raises `DiskError` where results cannot
    be written.
    """
    store = ResultStore(results.absolute())
    places = [device for _ in range(parallel) for device in devices or ("",)]  # one a run that can be made at a time
    threads = threads or max(1, cores() // len(places))
    queue: list[tuple[Job, bool]] = [(job, False) for job in jobs]
    running: list[_Worker] = []
    try:
        with _paused_together(running), Limiter(limits, GRACE_SECONDS) as limiter:
            while (queue or running) and not stopping():
                while queue and len(running) < len(places):
                    job, patient = queue.pop(0)
                    job = _placed(job, places, [worker.job.device for worker in running], parallel)
                    running.append(_start(job, store.root, threads, patient, limiter, modules or {}))
                    yield Event(job)
                for worker in ready(running, LOOK_SECONDS):
                    events = _hear(worker, store)
                    if worker.connection.closed:
                        running.remove(worker)
                        if not events:  # another command is making it
                            queue.append((worker.job, True))
                            events = [Event(worker.job, put_off=True)]
                    yield from events
    finally:
        _stop(running, store)


def _start(
    job: Job, results: Path, threads: int, patient: bool, limiter: Limiter, modules: Mapping[str, str]
) -> _Worker:
    output, prints = opened(name_of(job))
    with prints:
        child = start(work, job, results, threads, patient, prints, modules=modules)
    return _Worker(child.process, child.connection, job, output, limiter.hold(child.process))


def _placed(job: Job, places: Sequence[str], taken: Sequence[str], at_once: int) -> Job:
    """Return a job for the first place that nobody has taken."""
    free = list(places)
    for device in taken:
        if device in free:
            free.remove(device)
    return replace(job, device=free[0] or job.device, at_once=max(at_once, job.at_once))


def name_of(job: Job) -> str:
    """Return what to call a run, for people."""
    return f"{job.spec.variant} {job.spec.dataset} seed {job.spec.seed}"


@contextmanager
def _paused_together(running: Sequence[_Worker]) -> Iterator[None]:
    """Pause and continue the runs, which have process groups of their own, with the command (Ctrl-Z)."""

    def pause(number: int, frame: FrameType | None) -> None:
        for worker in running:
            worker.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        for worker in running:
            worker.signal(signal.SIGCONT)

    here = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGTSTP")
    if not here or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTSTP, pause)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def _hear(worker: _Worker, store: ResultStore) -> list[Event]:
    """Return what a worker says, which ends with its last event; one that ends with none asks to put its job off."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        worker.end(failed=True)
        return [Event(worker.job, record=_fallen(worker, store))]
    if message == BEGUN:
        worker.held.begin()
        return []
    if isinstance(message, Event):
        if message.record is not None:
            worker.end()
            if worker.held.over and _is_cut(message.record, worker.job):
                return [Event(worker.job, record=_fallen(worker, store))]
        return [message]
    worker.end()
    if isinstance(message, UserError):
        raise message
    return []


def _is_cut(record: RunRecord, job: Job) -> bool:
    return record.status == "killed" or (record.status == "done" and bool(unscored_metrics(record, job)))


def _fallen(worker: _Worker, store: ResultStore, why: str = "") -> RunRecord:
    """Record that the process of a run has ended without a last word; `why`: where that is known."""
    over = worker.held.over
    goes_on = "continues it from its checkpoint" if has_checkpoint(worker.job, store) else "begins it anew"
    return fallen(worker.job, store, why or (f"{over}; the same command {goes_on}" if over else worker.cause))


def has_checkpoint(job: Job, store: ResultStore) -> bool:
    """Whether a run can be continued."""
    return (store.work(job.spec) / "checkpoint.pt").exists()


def fallen(job: Job, store: ResultStore, why: str) -> RunRecord:
    """Record that a run has ended without a last word, and why; the caller sees to it that nobody makes it."""
    found = store.get(job.spec) or RunRecord(job.spec, "killed", meters=Meters())
    if found.status in FINAL:  # it had ended before, and metrics asked for later were being scored
        reasons = dict.fromkeys(unscored_metrics(found, job), f"{UNAVAILABLE}asked for after the run, and {why}")
        return store.add(replace(found, unscored={**found.unscored, **reasons}))
    return store.add(replace(found, status="killed", error=why))


def _stop(running: Sequence[_Worker], store: ResultStore) -> None:
    """Ask the running ones to keep what they have, and wait until they have; further requests are not heard."""
    running = [worker for worker in running if not worker.connection.closed]
    if not running:
        return
    here = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING} if here else {}
    until, talking = time.monotonic() + GRACE_SECONDS, list(running)
    try:
        for worker in running:
            with suppress(OSError):
                worker.process.terminate()
        while talking and time.monotonic() < until:
            for worker in ready(talking, timeout=max(0.0, until - time.monotonic())):
                try:
                    worker.connection.recv()  # nobody listens any more, but a run must not wait for a reader
                except (EOFError, OSError):
                    talking.remove(worker)
        for worker in running:
            late = worker in talking
            worker.end()
            if late:
                took = f"it had kept nothing more within {GRACE_SECONDS:.0f} seconds"
                _fallen(worker, store, f"stopped on request, but {took}; the same command continues it")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
