"""A run's own process: it makes the run, sends what happens, and ends, whatever a plugin has left in it."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ganbench.contract.executors import News
from ganbench.errors import UserError
from ganbench.files import settle_cache
from ganbench.results.record import Mark, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.executors.child import hear, leave, settle_in
from ganbench.runs.executors.starting import Home, require_same_modules
from ganbench.runs.job import Job
from ganbench.runs.stopping import Stop, Stopped
from ganbench.streams import note_warnings
from ganbench.training.budget import Tick

LOOK_SECONDS = 0.5
"""How often a run that another command is making is looked at."""
BEGUN = "begun"
"""What is sent when no other command makes the run, and this one begins."""

BUSY = "busy"
"""What is sent in place of an end when another command makes the run."""
TAKEN = "this machine stood still for so long that another command took the run over"
"""What is noted then."""
WAITING = "another command is making this run; waiting for it"
"""What is noted when one makes it."""


@dataclass(frozen=True)
class Event(News):
    """News of a run: it started (nothing set), a tick, a mark, a note, or its end with a record.

    `put_off`: it has not started after all, because another command is making it; it will be tried again.
    """

    job: Job
    share: float = 0.0
    tick: Tick | None = None
    mark: Mark | None = None
    note: str = ""
    record: RunRecord | None = None
    put_off: bool = False

    @property
    def run(self) -> str:
        """See `News.run`."""
        return self.job.spec.id

    @property
    def ended(self) -> bool:
        """See `News.ended`."""
        return self.record is not None


def work(
    job: Job, results: Path, threads: int, patient: bool, output: Connection, connection: Connection, home: Home
) -> None:
    """Make one run in this process, send what happens, and end, whatever threads a plugin has left.

    `output`: takes what is printed, by Python or past it.
    """
    stop, code = Stop(), 1
    try:
        settle_in(home, stop.ask, output)
        _try(job, ResultStore(results), threads, patient, _sender(connection, stop), home, stop)
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
    stop: Stop,
) -> None:
    """Make the run as soon as no other command does; where one does, say so unless this job is to be patient."""
    note_warnings(lambda message: send(Event(job, note=message)))
    said, taken = False, threading.Event()

    def give_up() -> None:
        taken.set()
        os.kill(os.getpid(), signal.SIGTERM)  # heard by the main thread, as any request to stop

    try:
        while not stop.asked:
            with store.lock(job.spec, blocking=False, lost=give_up) as free:
                if free:
                    send(BEGUN)
                    record = _make(job, store, threads, send, home, stop)
                    if not taken.is_set():
                        send(Event(job, record=record))
                        return
                    send(Event(job, note=TAKEN))
            if taken.is_set():
                send(BUSY)
                return
            if not patient:
                send(BUSY)
                return
            if not said:
                send(Event(job, note=WAITING))
                said = True
            time.sleep(LOOK_SECONDS)
    except UserError as error:
        send(error)
    except Stopped:  # before there was anything to keep
        pass


def _make(job: Job, store: ResultStore, threads: int, send: Callable[[Any], None], home: Home, stop: Stop) -> RunRecord:
    def listen(share: float, tick: Tick | None, mark: Mark | None) -> None:
        hear(stop.ask)  # again, since a plugin may have set them otherwise
        note_warnings(lambda message: send(Event(job, note=message)))
        send(Event(job, share, tick, mark))

    settle_cache()
    folder, weights = Path.cwd(), job.weights and job.weights.absolute()
    job = replace(job, data_root=job.data_root.absolute(), weights=weights)
    with stop.at_once():
        from ganbench.runs.execute import execute  # which imports torch, as this process may and the command need not
        from ganbench.runs.registry import discover

        registry = discover(job.plugins, job.origins)
    os.chdir(folder)  # a plugin may have gone elsewhere
    require_same_modules(home.modules)
    return execute(
        job, store, registry, threads=threads, listen=listen, stopping=lambda: stop.asked, at_once=stop.at_once
    )


def _sender(connection: Connection, stop: Stop) -> Callable[[Any], None]:
    lock = threading.Lock()  # a plugin's thread may warn while the run speaks

    def send(message: Any) -> None:
        with stop.later(), suppress(OSError), lock:  # half a message could not be read
            connection.send(message)

    return send
