"""Many runs: one process each, side by side where asked, none able to take the others down."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ganbench.errors import UserError
from ganbench.results.record import Mark, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.job import Job
from ganbench.runs.registry import discover
from ganbench.training.budget import Meters
from ganbench.training.devices import cores
from ganbench.training.trainer import Tick

GRACE_SECONDS = 60.0
"""How long a run that is asked to stop may take to write its checkpoint."""


@dataclass(frozen=True)
class Event:
    """News of a run: it started (nothing set), a tick, a mark, a note, or its end with a record."""

    job: Job
    share: float = 0.0
    tick: Tick | None = None
    mark: Mark | None = None
    note: str = ""
    record: RunRecord | None = None


@dataclass
class _Worker:
    """A run's process, and the connection to it, open until its last message has been read."""

    job: Job
    process: Any
    connection: Connection

    def end(self) -> None:
        self.connection.close()
        self.process.join()


def run_all(jobs: Sequence[Job], results: Path, *, parallel: int) -> Iterator[Event]:
    """Carry out jobs, at most `parallel` at once with the cores shared out, and yield what happens.

    A run that another command is making at the moment is put off to the end and then waited for. Closing the iterator
    stops the running ones, which write their checkpoints first. Raises `DiskError` where results cannot be written.
    """
    store = ResultStore(results)
    context = _context()
    threads = max(1, cores() // parallel)
    queue: list[tuple[Job, bool]] = [(job, False) for job in jobs]
    running: list[_Worker] = []
    try:
        while queue or running:
            while queue and len(running) < parallel:
                job, patient = queue.pop(0)
                running.append(_start(context, job, results, threads, patient))
                yield Event(job)
            for worker in _ready(running):
                event = _hear(worker, store)
                if worker.connection.closed:
                    running.remove(worker)
                if event is None:
                    queue.append((worker.job, True))
                else:
                    yield event
    finally:
        _stop(running, store)


def _context() -> Any:
    # A waiting thread must not spin: with more runs than free cores, spinning made steps 50 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Forking from a server that has imported torch but run nothing starts a run in a fraction of a second.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ganbench.runs.execute", "torch._inductor.config"]
    )  # deterministic algorithms need it
    return context


def _start(context: Any, job: Job, results: Path, threads: int, patient: bool) -> _Worker:
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, results, threads, patient, theirs), daemon=False)
    process.start()
    theirs.close()
    return _Worker(job, process, mine)


def _ready(running: Sequence[_Worker]) -> list[_Worker]:
    ready = wait([worker.connection for worker in running], timeout=0.5)
    return [worker for worker in running if worker.connection in ready]


def _hear(worker: _Worker, store: ResultStore) -> Event | None:
    """Return the next event of a worker, which ends with its last one; None asks to put its job off."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        worker.end()
        return Event(worker.job, record=_fallen(worker, store))
    if isinstance(message, Event):
        if message.record is not None:
            worker.end()
        return message
    worker.end()
    if isinstance(message, UserError):
        raise message
    return None


def _fallen(worker: _Worker, store: ResultStore) -> RunRecord:
    code = worker.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    else:
        why = f"its process ended with exit code {code}"
    found = store.get(worker.job.spec) or RunRecord(worker.job.spec, "killed", meters=Meters())
    record = replace(found, status="killed", error=why)
    store.add(record)
    return record


def _stop(running: Sequence[_Worker], store: ResultStore) -> None:
    for worker in running:
        worker.process.terminate()
    until = time.monotonic() + GRACE_SECONDS
    for worker in running:
        worker.process.join(max(0.1, until - time.monotonic()))
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
            _fallen(worker, store)


def _work(job: Job, results: Path, threads: int, patient: bool, connection: Connection) -> None:
    """Make one run in this process and send what happens."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and asks its runs to stop
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = ResultStore(results)
    send = _sender(connection)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="ganbench")
    warnings.showwarning = lambda message, *_, **__: send(Event(job, note=str(message)))
    try:
        with store.lock(job.spec, blocking=False) as free:
            if free:
                send(Event(job, record=_make(job, store, threads, send, stop)))
                return
        if not patient:
            send("busy")
            return
        send(Event(job, note="another command is making this run; waiting for it"))
        with store.lock(job.spec, blocking=True):
            send(Event(job, record=_make(job, store, threads, send, stop)))
    except UserError as error:
        send(error)


def _make(job: Job, store: ResultStore, threads: int, send: Callable[[Any], None], stop: threading.Event) -> RunRecord:
    def listen(share: float, tick: Tick | None, mark: Mark | None) -> None:
        send(Event(job, share, tick, mark))

    registry = discover(job.plugins, job.origins)
    return execute(job, store, registry, threads=threads, listen=listen, stopping=stop.is_set)


def _sender(connection: Connection) -> Callable[[Any], None]:
    def send(message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, OSError):
            connection.send(message)

    return send


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody is left to report to; files are written atomically, so nothing is half done
