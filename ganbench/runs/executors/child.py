"""A child process: started as this process is, heard through a pipe, and ended with all that it has started."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ganbench.errors import UserError
from ganbench.runs.executors.limits import end_this_first
from ganbench.runs.executors.starting import STOPPING, Home, alike, restore, socket_folder
from ganbench.streams import print_to_stderr

ENDING_SECONDS = 10.0
"""How long a process may take to end after its last word."""
AS_IT_STARTS = {
    # A waiting thread must not spin: with more runs than free cores, spinning made steps 50 times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc hands large blocks back to the system and gets them again, page by page, in every step: on MNIST 20,000 page
    # faults a step, a quarter of its time. 32 MiB is the most that all versions accept.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
"""Variables of the environment that libraries read when a process starts."""
PRELOADED = ("ganbench.runs.execute", "ganbench.runs.presets", "torch._inductor.config")
"""What all children need; deterministic algorithms need the last."""

Some = TypeVar("Some", bound="Child")
OnStop = Callable[..., Any] | signal.Handlers


@dataclass
class Child:
    """A process, and the connection to it, open until its last message has been read."""

    process: Any
    connection: Connection

    def end(self) -> None:
        """Let the process end, and take with it what it leaves behind."""
        self.leave()
        self.kill()

    def leave(self) -> None:
        """Hear no more of the process, and let it end by itself."""
        self.connection.close()
        self.process.join(ENDING_SECONDS)

    def kill(self) -> None:
        """End the process now, and all that it has started."""
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

    @property
    def cause(self) -> str:
        """How the process has ended."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        known = {number.value: number.name for number in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def start(target: Callable[..., None], *arguments: Any, modules: Mapping[str, str] | None = None) -> Child:
    """Start a process that calls `target(*arguments, connection, home)`.

    `modules`: files of further modules that it must import as they are. Raises `UserError` where none can be started.
    """
    context = _context()
    mine, theirs = context.Pipe(duplex=False)
    try:
        with alike(modules or {}) as home:
            process = context.Process(target=target, args=(*arguments, theirs, home), daemon=False)
            process.start()
    except (OSError, EOFError, RuntimeError) as error:  # the server of forks is gone, or no more can be started
        raise UserError(f"cannot start a process for a run: {error or type(error).__name__}") from error
    finally:
        theirs.close()
    return Child(process, mine)


def _context() -> Any:
    for name, value in AS_IT_STARTS.items():
        os.environ.setdefault(name, value)
    # Forking from a server that has imported torch but run nothing starts a child in a fraction of a second.
    if "forkserver" not in multiprocessing.get_all_start_methods() or socket_folder() is None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def ready(children: Sequence[Some], timeout: float) -> list[Some]:
    """Return those that have something to say, or have ended."""
    # One that has ended is heard of by itself: a child that it leaves behind may keep its connection open.
    found = wait([thing for child in children for thing in (child.connection, child.process.sentinel)], timeout)
    for child in children:
        if child.process.sentinel in found and os.name == "posix":
            os.set_blocking(child.connection.fileno(), False)  # half a message is all that will come
    return [child for child in children if child.connection in found or child.process.sentinel in found]


def settle_in(home: Home, on_stop: OnStop, output: Connection | None = None) -> None:
    """Make this process, a child, one that ends with its parent and hears of a request to stop from it alone.

    `output`: takes what is printed, by Python or past it, in place of standard error.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that what a plugin starts can be ended with it
    hear(on_stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    restore(home.environment)
    end_this_first()
    if output is not None:
        if os.name == "posix":
            os.dup2(output.fileno(), 2)
        output.close()
    print_to_stderr()
    faulthandler.enable(2)


def hear(on_stop: OnStop) -> None:
    """Let requests to stop be heard."""
    for number in STOPPING:  # the parent hears Ctrl-C and asks its children to stop
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else on_stop)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def leave(code: int) -> None:
    """End this process, a child, whatever threads a plugin has left in it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Nobody is left to report to; files are written atomically, so nothing is half done.
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)
