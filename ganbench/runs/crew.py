"""A run on several devices: its process is the first rank and starts the others, which train and do nothing else.

The first rank scores, keeps checkpoints and records, and says when the others go on; they say why they end.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import torch

from ganbench.results.record import Status
from ganbench.runs.executors.child import Child, leave, ready, start
from ganbench.runs.further import READY, Place, follow
from ganbench.runs.job import Job
from ganbench.training.connecting import Parted, connect, group_of, open_meeting, part
from ganbench.training.devices import resolve_device
from ganbench.training.ranks import SINGLE, Ranks

LOOK_SECONDS = 0.5
STUCK_SECONDS = 60.0
"""How long a process may take to notice that what it waits for will not come."""
LAST_WORD_SECONDS = 5.0
"""How long a rank that is gone may take to say why."""


class Lost(Exception):
    """Another rank of the run has ended. `status`: of the run then, `killed` where its process had no last word."""

    def __init__(self, told: str, status: Status) -> None:
        super().__init__(told)
        self.status = status


@dataclass
class _Helper(Child):
    """The process of a further rank, and the connection by which it is told what to do."""

    device: torch.device
    orders: Connection


class _First(Ranks):
    """The ranks as the first sees them."""

    def __init__(self, helpers: list[_Helper], size: int) -> None:
        super().__init__(0, size)
        self._helpers = helpers

    def announce(self, until: float) -> None:
        self.tell("train", until)

    def agree(self, number: int) -> int:
        self.tell("steps", number)
        return number

    def tell(self, order: str, content: Any) -> None:
        """Tell every other rank."""
        try:
            for helper in self._helpers:
                helper.orders.send((order, content))
        except OSError as error:
            raise Parted(f"a rank does not listen: {error}") from error


class Crew:
    """The ranks of one run. `ranks`: what its trainer needs; with one device there are no others."""

    def __init__(self, job: Job, threads: int) -> None:
        self._job, self._threads = job, share_of(threads, job.devices)
        self._devices = group_of(resolve_device(job.device), job.devices)
        self._helpers: list[_Helper] = []
        self.ranks: Ranks = _First(self._helpers, job.devices) if job.devices > 1 else SINGLE
        self._place: Any = None
        self._lost: Lost | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the other ranks, which load what they need meanwhile."""
        if self.ranks.size == 1 or self._helpers:
            return
        self._place = open_meeting(self.ranks.size)
        for rank, device in enumerate(self._devices[1:], 1):
            theirs, orders = Pipe(duplex=False)
            printed = Connection(os.dup(2), readable=False) if os.name == "posix" else None
            leader = os.getpgrp() if hasattr(os, "getpgrp") else 0
            place = Place(rank, str(device), self._threads, self._place.port, leader)
            child = start(follow, self._job, place, theirs, printed)
            theirs.close()
            if printed is not None:
                printed.close()
            self._helpers.append(_Helper(child.process, child.connection, device, orders))

    def connect(self, state: Mapping[str, Any] | None) -> None:
        """Wait until all ranks are there, and let them begin, or continue from the state of a trainer."""
        if self._place is None:
            return
        waiting = list(self._helpers)
        while waiting:
            for helper in ready(waiting, LOOK_SECONDS):
                if (said := _heard(helper)) != READY:
                    raise _lost(helper, said)
                waiting.remove(helper)
        assert isinstance(self.ranks, _First)
        self.ranks.tell("join", None)
        self.ranks.group = connect(self._place, 0, self.ranks.size, self._devices[0])
        if state is not None:
            file = io.BytesIO()
            torch.save(dict(state), file)
            self.ranks.tell("load", file.getvalue())
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise `Lost` where the block fails because another rank has ended; end the others with the block."""
        try:
            yield
        except Exception as error:
            if not self._is_of_others(error):
                raise
            until = time.monotonic() + (LAST_WORD_SECONDS if isinstance(error, Parted) else 0)
            while self._helpers and self._lost is None and time.monotonic() < until:
                time.sleep(0.05)
            if self._lost is not None:
                raise self._lost from error
            raise
        finally:
            self.close()

    def _is_of_others(self, error: Exception) -> bool:
        """Whether an error may come of another rank's end; on a CUDA device any operation may tell of it."""
        on_cuda = self._devices[0].type == "cuda" and isinstance(error, RuntimeError)
        return self.ranks.size > 1 and (on_cuda or isinstance(error, Parted | OSError))

    def close(self) -> None:
        """End the other ranks."""
        self._closed.set()
        self.ranks.part()
        for helper in self._helpers:
            helper.orders.close()
            helper.kill()
            helper.connection.close()
        if self._place is not None:
            part(abort=self._lost is not None and self._devices[0].type == "cuda")
        self._helpers.clear()
        self._place = None

    def _watch(self) -> None:
        """Notice that a rank has ended, which a sum on a CUDA device would wait for without an end."""
        helpers = list(self._helpers)
        while not self._closed.is_set():
            with suppress(OSError, ValueError):  # closed at this moment
                for helper in ready(helpers, LOOK_SECONDS):
                    said = _heard(helper)
                    if self._closed.is_set():
                        return
                    self._lost = _lost(helper, said)
                    if helper.device.type == "cuda":
                        self._unblock()
                    return

    def _unblock(self) -> None:
        """End the sum that this process waits for on its device; where that does not help, end the process."""
        part(abort=True)
        if not self._closed.wait(STUCK_SECONDS):
            sys.stderr.write(f"{self._lost}\n")
            leave(1)


def _heard(helper: _Helper) -> str:
    """Return what a rank says, nothing where it has ended without a word."""
    try:
        return str(helper.connection.recv())
    except (EOFError, OSError):
        return ""


def _lost(helper: _Helper, said: str) -> Lost:
    where = f"on another of its devices, {helper.device}"
    if said:
        return Lost(f"{where}: {said}", "error")
    helper.process.join(LAST_WORD_SECONDS)
    return Lost(f"{where}: {helper.cause}", "killed")


def share_of(threads: int, devices: int) -> int:
    """Return how many of a run's threads each of its ranks has."""
    return max(1, threads // devices)
