"""A sweep writes about itself as it goes: every two seconds, whatever the command may be waiting for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ganbench.cli.following import Following
from ganbench.cli.memory import memory_in_use
from ganbench.errors import DiskError, UserError, named
from ganbench.results.progress import Plan, forget, open_folder, write_progress
from ganbench.results.store import ResultStore
from ganbench.streams import tell

PERIOD_SECONDS = 2.0
"""How often a sweep writes how far it is."""


@contextmanager
def published(following: Following, plan: Plan, store: ResultStore) -> Iterator[None]:
    """Write about a sweep inside the block, and in the end how it ended. What cannot be written stops no run."""
    publisher = _Publisher(following, plan, store)
    publisher.start()
    try:
        yield
    except KeyboardInterrupt:
        publisher.end("stopped")
        raise
    except BaseException as error:
        publisher.end("failed", str(error) if isinstance(error, UserError) else named(error))
        raise
    publisher.end("finished")


class _Publisher:
    def __init__(self, following: Following, plan: Plan, store: ResultStore) -> None:
        self._following, self._plan, self._store = following, plan, store
        self._folder: Path | None = None
        self._told = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)

    def start(self) -> None:
        with suppress(DiskError):
            forget(self._store.root, {run.id for run in self._plan.runs})
        try:
            self._folder = open_folder(self._store, self._plan)
        except (DiskError, ValueError) as error:
            self._tell(error)
        self._write()
        with suppress(RuntimeError):  # no more threads can be started
            self._thread.start()

    def end(self, state: Literal["finished", "stopped", "failed"], why: str = "") -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join(10 * PERIOD_SECONDS)  # a disk may stand still
        if not self._thread.is_alive():
            self._write(state, why)

    def _repeat(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread hears them
        while not self._done.wait(PERIOD_SECONDS):
            self._following.memory = memory_in_use()
            self._write()

    def _write(self, state: Literal["finished", "stopped", "failed"] | None = None, why: str = "") -> None:
        progress = self._following.progress()
        if state is not None:
            progress = replace(progress, state=state, why=why, left=None, memory=None)
        if self._folder is not None:
            try:
                write_progress(self._folder, progress)
            except (DiskError, ValueError) as error:
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            tell(f"Note: {error}; `ganbench status` does not see how far these runs are")
        self._told = True
