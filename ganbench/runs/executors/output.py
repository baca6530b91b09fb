"""What a run prints: read by the command, so that no full disk and no reader that is gone is felt by the plugin."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from ganbench.errors import UserError
from ganbench.streams import Relay, tell

MOST_BYTES = 1_000_000
"""So much of what a run prints is passed on."""
LAST_BYTES = 4_000
"""So much of the rest is remembered, since a process that crashes says why at its end."""
LOOK_SECONDS = 0.5
"""How often it is looked whether a run has ended whose output a process that it left behind keeps open."""
ENDING_SECONDS = 2.0
"""How long what such a process prints is still read."""


def opened(name: str) -> tuple[Output, Connection]:
    """Return what passes on the output of a process, and the end of the pipe that the process is to print to."""
    try:
        reader, writer = Pipe(duplex=False)
        return Output(reader, name), writer
    except (OSError, RuntimeError) as error:  # no more of them can be had
        raise UserError(f"cannot start a process for a run: {error}") from error


class Output:
    """Passes on to standard error what comes out of a run, up to a limit. `name`: of the run, for people."""

    def __init__(self, reader: Connection, name: str) -> None:
        self._reader, self._name = reader, name
        self._passed, self._last, self._relay = 0, b"", Relay()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="output", daemon=True)
        self._thread.start()

    def close(self, *, failed: bool) -> None:
        """Pass on what is left; of a run that failed also its last words. Its process has ended."""
        self._ending.set()
        self._thread.join(2 * ENDING_SECONDS)  # it may be waiting for a terminal that stands still
        if self._thread.is_alive():
            return
        if failed and self._last:
            tell(f"{self._name} printed last:")
            whole = len(self._last) < LAST_BYTES
            self._relay.write(self._last if whole else self._last.partition(b"\n")[2])
        self._relay.end()

    def _drain(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread hears them
        until = float("inf")
        with self._reader, suppress(OSError):
            while time.monotonic() < until:
                if wait([self._reader], LOOK_SECONDS):
                    if not (piece := os.read(self._reader.fileno(), 2**16)):
                        break
                    self._pass_on(piece)
                elif self._ending.is_set():
                    break
                if self._ending.is_set():
                    until = min(until, time.monotonic() + ENDING_SECONDS)

    def _pass_on(self, piece: bytes) -> None:
        room = MOST_BYTES - self._passed
        if room > 0:
            self._relay.write(piece[:room])
            self._passed += len(piece[:room])
        if rest := piece[max(0, room) :]:
            if not self._last:
                tell(f"\n{self._name} prints more than {MOST_BYTES / 1e6:g} MB: the rest is left out")
            self._last = (self._last + rest)[-LAST_BYTES:]
