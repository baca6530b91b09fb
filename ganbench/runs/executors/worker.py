"""A run's own process: it makes the run, sends what happens, and ends, whatever a plugin has left in it."""

from __future__ import annotations

import os
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ganbench.errors import UserError
from ganbench.files import settle_cache
from ganbench.results.record import Mark, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.executors.child import leave, settle_in
from ganbench.runs.executors.starting import Home, require_same_modules
from ganbench.runs.job import Job
from ganbench.training.budget import Tick

LOOK_SECONDS = 0.5
"""How often a run that another command is making is looked at."""


@dataclass(frozen=True)
class Event:
    """News of a run: it started (nothing set), a tick, a mark, a note, or its end with a record."""

    job: Job
    share: float = 0.0
    tick: Tick | None = None
    mark: Mark | None = None
    note: str = ""
    record: RunRecord | None = None


def work(job: Job, results: Path, threads: int, patient: bool, connection: Connection, home: Home) -> None:
    """Make one run in this process, send what happens, and end, whatever threads a plugin has left."""
    stop, code = threading.Event(), 1
    try:
        settle_in(home, lambda *_: stop.set())
        _try(job, ResultStore(results), threads, patient, _sender(connection), home, stop)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


def _try(
    job: Job,
    store: ResultStore,
    threads: int,
    patient: bool,
    send: Callable[[Any], None],
    home: Home,
    stop: threading.Event,
) -> None:
    """Make the run as soon as no other command does; where one does, say so unless this job is to be patient."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="ganbench")
    warnings.showwarning = lambda message, *_, **__: send(Event(job, note=str(message)))
    said = False
    try:
        while not stop.is_set():
            with store.lock(job.spec, blocking=False) as free:
                if free:
                    send(Event(job, record=_make(job, store, threads, send, home, stop)))
                    return
            if not patient:
                send("busy")
                return
            if not said:
                send(Event(job, note="another command is making this run; waiting for it"))
                said = True
            stop.wait(LOOK_SECONDS)
    except UserError as error:
        send(error)


def _make(
    job: Job, store: ResultStore, threads: int, send: Callable[[Any], None], home: Home, stop: threading.Event
) -> RunRecord:
    def listen(share: float, tick: Tick | None, mark: Mark | None) -> None:
        send(Event(job, share, tick, mark))

    settle_cache()
    folder, weights = Path.cwd(), job.weights and job.weights.absolute()
    job = replace(job, data_root=job.data_root.absolute(), weights=weights)
    from ganbench.runs.execute import execute  # which imports torch, as this process may and the command need not
    from ganbench.runs.registry import discover

    registry = discover(job.plugins, job.origins)
    os.chdir(folder)  # a plugin may have gone elsewhere
    require_same_modules(home.modules)
    return execute(job, store, registry, threads=threads, listen=listen, stopping=stop.is_set)


def _sender(connection: Connection) -> Callable[[Any], None]:
    lock = threading.Lock()  # a plugin's thread may warn while the run speaks

    def send(message: Any) -> None:
        with suppress(OSError), lock:
            connection.send(message)

    return send
