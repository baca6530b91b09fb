"""What a run may take of time and memory, and the thread of the command that ends a run which takes more."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ganbench.errors import UserError

LOOK_SECONDS = 0.25
"""How often runs are looked at."""
STANDSTILL = 8 * LOOK_SECONDS
"""What is more than this between two looks is time in which the command stood still (Ctrl-Z), and does not count."""
PROC = Path("/proc")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Limits:
    """What each run may take, in `seconds` and `bytes`. `timeout`, `memory`: as they were written."""

    timeout: str = ""
    memory: str = ""
    seconds: float = math.inf
    bytes: float = math.inf

    @classmethod
    def parse(cls, timeout: str | None, memory: str | None) -> Limits:
        """Read `90`, `30m` or `2h`, and `500M` or `4G`; None is no limit. Imports no torch."""
        seconds = bytes_ = math.inf
        if timeout is not None:
            found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhd]?)", timeout.strip(), re.ASCII)
            seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
            if not 0 < seconds < math.inf:
                raise UserError(f"--timeout-per-run {timeout}: write seconds, or a number with m, h or d: 90, 30m, 2h")
        if memory is not None:
            found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?", memory.strip(), re.ASCII | re.IGNORECASE)
            bytes_ = float(found[1]) * _BYTES[found[2].upper()] if found else 0.0
            if not 0 < bytes_ < math.inf:
                raise UserError(f"--memory-per-run {memory}: write a number with M or G, for instance 500M or 4G")
            if not (PROC / "self" / "stat").exists():
                raise UserError(
                    f"--memory-per-run {memory}: this system has no {PROC}, so the memory of a run cannot be watched"
                )
        return cls((timeout or "").strip(), (memory or "").strip(), seconds, bytes_)


NO_LIMITS = Limits()


class Held:
    """A run that is held to limits. `over`: why it has to end, once it has to; `killed`: whether that was done."""

    def __init__(self, process: Any, limits: Limits, grace: float, among: list[Held]) -> None:
        self.over, self.killed = "", False
        self._process, self._limits, self._grace, self._among = process, limits, grace, among
        self._seconds, self._counts = 0.0, False
        self._lock = threading.Lock()
        among.append(self)

    @property
    def pid(self) -> int:
        """The id of the run's process, and of its group."""
        return int(self._process.pid)

    def begin(self) -> None:
        """Let time count from now on: until here the run may have waited for another command."""
        self._counts = True

    def end(self) -> None:
        """Let the run be, whose process has ended."""
        with self._lock:
            if self in self._among:
                self._among.remove(self)

    def look(self, passed: float, used: int) -> None:
        """Take notice of the seconds since the last look and of the bytes in use, and end the run where it must."""
        with self._lock:  # else it might end meanwhile, and its id be another's
            if self.killed or self not in self._among or wait([self._process.sentinel], 0):
                return
            self._seconds += passed if self._counts else 0.0
            if used > self._limits.bytes:
                self.over = f"used {_words(used)}, more than --memory-per-run {self._limits.memory}"
                self._kill()
            elif self._seconds > self._limits.seconds + self._grace:
                self.over += f", and kept nothing more within {self._grace:g} seconds"
                self._kill()
            elif self._seconds > self._limits.seconds and not self.over:
                self.over = f"took longer than --timeout-per-run {self._limits.timeout}"
                with suppress(OSError):
                    os.kill(self.pid, signal.SIGTERM)  # on which it keeps a checkpoint

    def _kill(self) -> None:
        self.killed = True
        number = signal.SIGKILL if os.name == "posix" else signal.SIGTERM
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, number)
        with suppress(OSError):
            os.kill(self.pid, number)


class Limiter:
    """Holds runs to limits inside a `with` block. `grace`: seconds between asking a run to stop and ending it.

    It has a thread of its own, because the command may be waiting: for half a message, or for a terminal.
    """

    def __init__(self, limits: Limits, grace: float) -> None:
        self._limits, self._grace = limits, grace
        self._held: list[Held] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="limits", daemon=True)

    def hold(self, process: Any) -> Held:
        """Hold a process that has been started to the limits, until its end."""
        return Held(process, self._limits, self._grace, self._held)

    def __enter__(self) -> Limiter:
        if self._limits != NO_LIMITS:
            try:
                self._thread.start()
            except RuntimeError as error:
                raise UserError(f"the limits of runs cannot be held: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread hears them
        last = time.monotonic()
        while not self._done.wait(LOOK_SECONDS):
            before, last = last, time.monotonic()
            held = list(self._held)
            used = resident({each.pid for each in held}) if self._limits.bytes < math.inf else {}
            for each in held:
                each.look(min(last - before, STANDSTILL), used.get(each.pid, 0))


def resident(groups: Collection[int]) -> dict[int, int]:
    """Return how many bytes of memory the processes of each group have in use, pages that they share in each."""
    found, page = dict.fromkeys(groups, 0), os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError):
        for folder in PROC.iterdir():
            if folder.name.isdigit():
                with suppress(OSError, ValueError, IndexError):  # it may just have ended
                    pid = int(folder.name)
                    if (group := pid if pid in found else os.getpgid(pid)) in found:  # whatever group it has moved to
                        found[group] += int((folder / "statm").read_bytes().split()[1]) * page
    return found


def end_this_first() -> None:
    """Where memory runs out, let the system end this process and what it starts before any other."""
    with suppress(OSError):
        (PROC / "self" / "oom_score_adj").write_text("1000", encoding="ascii")


def _words(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.1f} MiB"
