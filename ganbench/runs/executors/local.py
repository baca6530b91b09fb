"""Many runs: one process each, side by side where asked, none able to take the others down."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from ganbench.errors import UserError
from ganbench.files import settle_cache
from ganbench.results.record import Mark, RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.job import Job
from ganbench.runs.registry import discover
from ganbench.streams import print_to_stderr
from ganbench.training.budget import Meters
from ganbench.training.devices import cores
from ganbench.training.trainer import Tick

GRACE_SECONDS = 60.0
"""How long a run that is asked to stop may take to write its checkpoint."""
ENDING_SECONDS = 10.0
"""How long a process may take to end after its last word."""
STOPPING = {signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
LOOK_SECONDS = 0.5
"""How often a run that another command is making is looked at."""
_LONGEST_FOLDER = 70
"""A socket's address holds about a hundred characters, of which its own name in the folder takes 32."""


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
        """Let the process end, and take with it what it leaves behind."""
        self.connection.close()
        self.process.join(ENDING_SECONDS)
        self.signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        self.process.join(ENDING_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started."""
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)
        if self.process.exitcode is None:
            with suppress(OSError):
                os.kill(self.process.pid, number)


@dataclass(frozen=True)
class _Home:
    """What a run's process takes over from the command: its environment, and which file each module came from."""

    environment: Mapping[str, str | None]
    modules: Mapping[str, str]


def run_all(jobs: Sequence[Job], results: Path, *, parallel: int) -> Generator[Event]:
    """Carry out jobs, at most `parallel` at once with the cores shared out, and yield what happens.

    A run that another command is making at the moment is put off to the end and then waited for. Closing the iterator
    stops the running ones, which write their checkpoints first. Raises `DiskError` where results cannot be written.
    """
    store = ResultStore(results.absolute())
    context = _context()
    threads = max(1, cores() // parallel)
    queue: list[tuple[Job, bool]] = [(job, False) for job in jobs]
    running: list[_Worker] = []
    try:
        with _paused_together(running):
            while queue or running:
                while queue and len(running) < parallel:
                    job, patient = queue.pop(0)
                    running.append(_start(context, job, store.root, threads, patient))
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
    if "forkserver" not in multiprocessing.get_all_start_methods() or _socket_folder() is None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ganbench.runs.execute", "torch._inductor.config"]
    )  # deterministic algorithms need it
    return context


def _socket_folder() -> str | None:
    """Return the first folder for temporary files in which a socket can lie."""
    folders = ["/tmp", "/var/tmp", "/dev/shm"]
    with suppress(OSError):  # there may be no usable one at all
        folders.insert(0, tempfile.gettempdir())
    fits = (folder for folder in folders if len(os.fsencode(folder)) <= _LONGEST_FOLDER)
    return next((folder for folder in fits if Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)), None)


def _start(context: Any, job: Job, results: Path, threads: int, patient: bool) -> _Worker:
    mine, theirs = context.Pipe(duplex=False)
    try:
        with _alike() as home:
            process = context.Process(target=_work, args=(job, results, threads, patient, theirs, home), daemon=False)
            process.start()
    except (OSError, EOFError) as error:  # the server that runs are forked from is gone, or there are no more processes
        raise UserError(f"cannot start a process for a run: {error or type(error).__name__}") from error
    finally:
        theirs.close()
    return _Worker(job, process, mine)


@contextmanager
def _alike() -> Iterator[_Home]:
    """Let a Python that is started inside the block import from where this one does, and from nowhere else.

    Otherwise the current folder is in front of its import path, and a `random.py` there would be run. Requests to stop
    that come while it starts wait until it can hear them. Its sockets lie where their address is short enough.
    """
    path = os.pathsep.join(dict.fromkeys(str(Path(entry).absolute()) for entry in sys.path))
    changed = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    home = _Home({name: os.environ.get(name) for name in changed}, _origins())
    folder, main = tempfile.tempdir, sys.modules["__main__"]
    blocked = None
    try:
        os.environ.update(changed)
        ensure_running()  # started by itself, because it lets signals through in the end
        if hasattr(signal, "pthread_sigmask"):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        tempfile.tempdir = _socket_folder() or folder
        sys.modules["__main__"] = ModuleType("__main__")  # a run needs nothing of the script, which may have no guard
        yield home
    finally:
        sys.modules["__main__"] = main
        tempfile.tempdir = folder
        _restore(home.environment)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _restore(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _origins() -> dict[str, str]:
    """Return the file of every package and module at the top of the import path that has been imported."""
    found = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if "." not in name}
    return {name: os.path.realpath(file) for name, file in found.items() if file and not name.endswith("main__")}


def _require_same_modules(theirs: Mapping[str, str]) -> None:
    """Raise `UserError` where this process has imported something else than the command has."""
    for name, file in _origins().items():
        if theirs.get(name, file) != file:
            where = f"from {file}, but the command from {theirs[name]}"
            raise UserError(f"a run's process imports {name!r} {where}: mend the import path")


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
        if worker.process.sentinel in ready:
            os.set_blocking(worker.connection.fileno(), False)  # half a message is all that will come
    return [worker for worker in running if worker.connection in ready or worker.process.sentinel in ready]


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
                _fallen(worker, store)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _work(job: Job, results: Path, threads: int, patient: bool, connection: Connection, home: _Home) -> None:
    """Make one run in this process, send what happens, and end, whatever threads a plugin has left."""
    stop, code = threading.Event(), 1
    try:
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)  # so that what a plugin starts can be ended with it
        for number in STOPPING:  # the parent hears Ctrl-C and asks its runs to stop
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else lambda *_: stop.set())
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _restore(home.environment)
        print_to_stderr()
        _try(job, ResultStore(results), threads, patient, _sender(connection), home, stop)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _try(
    job: Job,
    store: ResultStore,
    threads: int,
    patient: bool,
    send: Callable[[Any], None],
    home: _Home,
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
    job: Job, store: ResultStore, threads: int, send: Callable[[Any], None], home: _Home, stop: threading.Event
) -> RunRecord:
    def listen(share: float, tick: Tick | None, mark: Mark | None) -> None:
        send(Event(job, share, tick, mark))

    settle_cache()
    folder, weights = Path.cwd(), job.weights and job.weights.absolute()
    job = replace(job, data_root=job.data_root.absolute(), weights=weights)
    registry = discover(job.plugins)
    os.chdir(folder)  # a plugin may have gone elsewhere
    _require_same_modules(home.modules)
    return execute(job, store, registry, threads=threads, listen=listen, stopping=stop.is_set)


def _sender(connection: Connection) -> Callable[[Any], None]:
    lock = threading.Lock()  # a plugin's thread may warn while the run speaks

    def send(message: Any) -> None:
        with suppress(OSError), lock:
            connection.send(message)

    return send


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Nobody is left to report to; files are written atomically, so nothing is half done.
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)
