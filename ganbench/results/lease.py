"""The lease of a run: a file that says who makes it, renewed while he does, and taken over when he is gone.

It needs no lock of the file system, which network disks do not always honour: it comes into being by a hard link,
which is there whole or not at all and which only one of many can make. Imports no torch.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ganbench.results.process import Process, is_alive, this_process

NAME = "lease"
"""How it is called, and how the names of files begin that are made on the way to it."""
TERM_SECONDS = 60.0
"""So long after its last renewal the lease of another machine is void, if it names no other term."""
LONGEST_SECONDS = 86_400.0
BEATS = 6
"""How often it is renewed within its term."""
TRIES = 20
MOST_BYTES = 10_000


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. `token`: of this lease alone; `term`: seconds after a renewal in which it is valid."""

    token: str
    process: Process
    term: float


@dataclass(frozen=True)
class _Found:
    """A lease as it was found, with the time of its last renewal."""

    content: bytes
    renewed: float

    @property
    def holder(self) -> Holder | None:
        """Who holds it, None where it is damaged, or not yet written."""
        try:
            return _HOLDER.validate_json(self.content)
        except ValidationError:
            return None

    def is_void(self, now: float) -> bool:
        """Whether its holder is gone: where it can be seen, because he is; else because he has not renewed it.

        `now`: by the clock of the disk, which alone has written both times.
        """
        holder = self.holder
        if holder is not None and holder.token in _GIVEN_BACK:
            return True
        if holder is not None and holder.process.system and (alive := is_alive(holder.process)) is not None:
            return not alive
        term = min(max(holder.term, 0.0), LONGEST_SECONDS) if holder is not None else TERM_SECONDS
        return now - self.renewed > term


_HOLDER = TypeAdapter(Holder)
_GIVEN_BACK: set[str] = set()
"""Tokens of leases of this process whose file could not be removed."""


class Lease:
    """A lease that this process may get. `lost`: called by a thread if another takes it away, whose work it is then."""

    def __init__(self, folder: Path, lost: Callable[[], object] = lambda: None) -> None:
        self._folder, self._path, self._lost = folder, folder / NAME, lost
        self._token, self._term = secrets.token_hex(8), term()
        self._content = json.dumps(asdict(Holder(self._token, this_process(), self._term))).encode()
        self._beat: threading.Thread | None = None
        self._over = threading.Event()

    def acquire(self) -> bool:
        """Get the lease unless somebody holds it. Raises `OSError`."""
        for _ in range(TRIES):
            draft = self._folder / f"{NAME}-{self._token}"
            try:
                draft.write_bytes(self._content)
                now = draft.stat().st_mtime
                if self._link(draft):
                    self._clear_away()
                    self._renew_on()
                    return True
            except FileNotFoundError:  # whoever got it has cleared away
                continue
            finally:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
            found = _look(self._path)
            if found is not None and not found.is_void(now):
                return False
            if found is not None:
                self._bury(found)
        self._folder.stat()  # raises where there is none
        return False  # others are quicker, again and again

    def release(self) -> None:
        """Give the lease back, where it is still held."""
        self._over.set()
        if self._beat is not None:
            self._beat.join()
        try:
            if self._is_mine():
                self._path.unlink()
        except OSError:  # others take it over when this process ends
            _GIVEN_BACK.add(self._token)

    def _link(self, draft: Path) -> bool:
        """Let the draft be the lease where there is none. Raises `FileNotFoundError` where there is no such draft."""
        try:
            os.link(draft, self._path)
            return True
        except FileExistsError:
            return draft.stat().st_nlink == 2  # over NFS the answer to a request that succeeded may be lost
        except FileNotFoundError:
            raise
        except OSError:
            if draft.stat().st_nlink == 2:
                return True
        try:  # this disk knows no links
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(file, "wb") as opened:
            opened.write(self._content)
        return True

    def _bury(self, void: _Found) -> None:
        """Take away a lease that is void; one that another has got in between is put back."""
        grave = self._folder / f"{NAME}-{self._token}-void"
        try:
            self._path.rename(grave)
        except FileNotFoundError:
            return
        if _look(grave) != void:
            with suppress(OSError):  # where it cannot be put back, its holder finds that out and stops
                os.link(grave, self._path)
        with suppress(OSError):
            grave.unlink()

    def _clear_away(self) -> None:
        """Remove what those left who ended on the way to the lease."""
        with suppress(OSError):
            for path in self._folder.glob(f"{NAME}-*"):
                path.unlink(missing_ok=True)

    def _renew_on(self) -> None:
        self._beat = threading.Thread(target=self._renew, name=NAME, daemon=True)
        self._beat.start()

    def _renew(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread hears them
        while not self._over.wait(self._term / BEATS):
            with suppress(OSError):  # a disk that cannot be reached for a moment
                if not self._is_mine() and (self._over.wait(0.1) or not self._is_mine()):
                    break
                os.utime(self._path)
        if not self._over.is_set():
            self._lost()

    def _is_mine(self) -> bool:
        found = _look(self._path)
        return found is not None and found.content == self._content


def term() -> float:
    """Return after how many seconds without renewal a lease of this process is void: `GANBENCH_LEASE_SECONDS`."""
    with suppress(ValueError):
        asked = float(os.environ.get("GANBENCH_LEASE_SECONDS", TERM_SECONDS))
        if 1 <= asked <= LONGEST_SECONDS:
            return asked
    return TERM_SECONDS


def is_held(folder: Path) -> bool:
    """Whether somebody holds the lease in a folder. Raises `OSError`."""
    found = _look(folder / NAME)
    return found is not None and not found.is_void(_now(folder))


def _look(path: Path) -> _Found | None:
    try:
        with path.open("rb") as file:  # opened each time, upon which NFS asks its server for what is new
            return _Found(file.read(MOST_BYTES), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def _now(folder: Path) -> float:
    """Return what time it is for the disk."""
    probe = folder / f"{NAME}-{secrets.token_hex(8)}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
