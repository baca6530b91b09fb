"""Many runs: one process each, side by side where asked, none able to take the others down."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

from ganbench.errors import UserError
from ganbench.results.record import FINAL, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.executors.limits import NO_LIMITS, Held, Limiter, Limits
from ganbench.runs.executors.output import Output
from ganbench.runs.executors.starting import STOPPING, alike, socket_folder
from ganbench.runs.executors.worker import BEGUN, Event, work
from ganbench.runs.job import Job, unscored_metrics
from ganbench.scoring.evaluate import UNAVAILABLE
from ganbench.training.budget import Meters
from ganbench.training.devices import cores

GRACE_SECONDS = 60.0
"""How long a run that is asked to stop may take to write its checkpoint."""
ENDING_SECONDS = 10.0
"""How long a process may take to end after its last word."""


@dataclass
class _Worker:
    """A run's process, and the connection to it, open until its last message has been read."""

    job: Job
    process: Any
    connection: Connection
    output: Output
    held: Held

    def end(self, *, failed: bool = False) -> None:
        """Let the process end, and take with it what it leaves behind. `failed`: it had no last word."""
        self.connection.close()
        self.process.join(ENDING_SECONDS)
        self.held.end()
        self.signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        self.process.join(ENDING_SECONDS)
        self.output.close(failed=failed)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started."""
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)
        if self.process.exitcode is None:
            with suppress(OSError):
                os.kill(self.process.pid, number)


def run_all(jobs: Sequence[Job], results: Path, *, parallel: int, limits: Limits = NO_LIMITS) -> Generator[Event]:
    """Carry out jobs, at most `parallel` at once with the cores shared out, and yield what happens.

    A run that another command is making at the moment is put off to the end and then waited for. Closing the iterator
    stops the running ones, which write their checkpoints first. One that goes beyond its limits is ended, and its
    record says so. Raises `DiskError` where results cannot be written.
    """
    store = ResultStore(results.absolute())
    context = _context()
    threads = max(1, cores() // parallel)
    queue: list[tuple[Job, bool]] = [(job, False) for job in jobs]
    running: list[_Worker] = []
    try:
        with _paused_together(running), Limiter(limits, GRACE_SECONDS) as limiter:
            while queue or running:
                while queue and len(running) < parallel:
                    job, patient = queue.pop(0)
                    running.append(_start(context, job, store.root, threads, patient, limiter))
                    yield Event(job)
                for worker in _ready(running):
                    events = _hear(worker, store)
                    if worker.connection.closed:
                        running.remove(worker)
                        if not events:  # another command is making it
                            queue.append((worker.job, True))
                    yield from events
    finally:
        _stop(running, store)


def _context() -> Any:
    # A waiting thread must not spin: with more runs than free cores, spinning made steps 50 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Forking from a server that has imported torch but run nothing starts a run in a fraction of a second.
    if "forkserver" not in multiprocessing.get_all_start_methods() or socket_folder() is None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ganbench.runs.execute", "torch._inductor.config"]
    )  # deterministic algorithms need it
    return context


def _start(context: Any, job: Job, results: Path, threads: int, patient: bool, limiter: Limiter) -> _Worker:
    mine, theirs = context.Pipe(duplex=False)
    printed, prints = context.Pipe(duplex=False)
    try:
        output = Output(printed, _name(job))
        with alike() as home:
            ends = (theirs, prints)
            process = context.Process(target=work, args=(job, results, threads, patient, *ends, home), daemon=False)
            process.start()
        return _Worker(job, process, mine, output, limiter.hold(process))
    except (OSError, EOFError, RuntimeError) as error:  # the server of forks is gone, or no more can be started
        raise UserError(f"cannot start a process for a run: {error or type(error).__name__}") from error
    finally:
        theirs.close()
        prints.close()


def _name(job: Job) -> str:
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


def _ready(running: Sequence[_Worker], timeout: float = 0.5) -> list[_Worker]:
    """Return the workers that have something to say, or have ended."""
    # One that has ended is heard of by itself: a child that it leaves behind may keep its connection open.
    ready = wait([thing for worker in running for thing in (worker.connection, worker.process.sentinel)], timeout)
    for worker in running:
        if worker.process.sentinel in ready and os.name == "posix":
            os.set_blocking(worker.connection.fileno(), False)  # half a message is all that will come
    return [worker for worker in running if worker.connection in ready or worker.process.sentinel in ready]


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
    job, over = worker.job, worker.held.over
    kept = (store.work(job.spec) / "checkpoint.pt").exists()
    goes_on = "continues it from its checkpoint" if kept else "begins it anew"
    why = why or (f"{over}; the same command {goes_on}" if over else _cause(worker.process.exitcode))
    found = store.get(job.spec) or RunRecord(job.spec, "killed", meters=Meters())
    if found.status in FINAL:  # it had ended before, and metrics asked for later were being scored
        reasons = dict.fromkeys(unscored_metrics(found, job), f"{UNAVAILABLE}asked for after the run, and {why}")
        return store.add(replace(found, unscored={**found.unscored, **reasons}))
    return store.add(replace(found, status="killed", error=why))


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


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
            for worker in _ready(talking, timeout=max(0.0, until - time.monotonic())):
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
