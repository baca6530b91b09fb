"""The lease of a run: a file that says who makes it, renewed while he does, and taken over when he is gone.

It needs no lock of the file system, which network disks do not always honour. Leases are numbered, and the highest
number is the one that counts: it is got by making the next one, which only one of many can do, by a hard link that is
there whole or not at all. So whoever has seen a void lease and comes late fails to make the next, and takes nothing
away from him who has it. The highest is never removed, not even when it is given back. Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ganbench.results.process import Process, is_alive, this_process

NAME = "lease"
"""How its name begins, and those of files that are made on the way to it."""
_NUMBERED = re.compile(rf"{NAME}-(\d+)")
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
    given_back: bool = False


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
        if holder is not None and (holder.given_back or holder.token in _GIVEN_BACK):
            return True
        if holder is not None and holder.process.system and (alive := is_alive(holder.process)) is not None:
            return not alive
        term = min(max(holder.term, 0.0), LONGEST_SECONDS) if holder is not None else TERM_SECONDS
        return now - self.renewed > term


_HOLDER = TypeAdapter(Holder)
_GIVEN_BACK: set[str] = set()
"""Tokens of leases of this process of which the disk could not be told that they are given back."""


class Lease:
    """A lease that this process may get. `lost`: called by a thread if another takes it away, whose work it is then."""

    def __init__(self, folder: Path, lost: Callable[[], object] = lambda: None) -> None:
        self._folder, self._lost, self._number = folder, lost, 0
        self._holder = Holder(secrets.token_hex(8), this_process(), term())
        self._content = _written(self._holder)
        self._beat: threading.Thread | None = None
        self._over = threading.Event()

    def acquire(self) -> bool:
        """Get the lease unless somebody holds it. Raises `OSError`."""
        for _ in range(TRIES):
            with suppress(FileNotFoundError), self._draft(self._content) as draft:  # others may clear away
                now, last = draft.stat().st_mtime, _last(self._folder)
                found = _look(_path(self._folder, last)) if last else None
                if found is not None and not found.is_void(now):
                    return False
                fits = (found is None) is (last == 0)  # else it has just given way to the next
                if fits and self._link(draft, _path(self._folder, last + 1)) and self._is_last(last + 1):
                    self._number = last + 1
                    self._clear_away(now)
                    self._renew_on()
                    return True
        self._folder.stat()  # raises where there is none
        return False  # others are quicker, again and again

    def release(self) -> None:
        """Give the lease back, where it is still held."""
        self._over.set()
        if self._beat is not None:
            self._beat.join()
        try:
            if self._is_mine():
                with self._draft(_written(replace(self._holder, given_back=True))) as draft:
                    draft.replace(self._path)
        except OSError:  # others take it over when this process ends
            _GIVEN_BACK.add(self._holder.token)

    @property
    def _path(self) -> Path:
        return _path(self._folder, self._number)

    @contextmanager
    def _draft(self, content: bytes) -> Iterator[Path]:
        path = self._folder / f"{NAME}-draft-{self._holder.token}"
        try:
            path.write_bytes(content)
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _link(self, draft: Path, path: Path) -> bool:
        """Let the draft be a lease where there is none. Raises `FileNotFoundError` where there is no such draft."""
        try:
            os.link(draft, path)
            return True
        except FileExistsError:
            return draft.stat().st_nlink == 2  # over NFS the answer to a request that succeeded may be lost
        except FileNotFoundError:
            raise
        except OSError:
            if draft.stat().st_nlink == 2:
                return True
        try:  # this disk knows no links
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(file, "wb") as opened:
            opened.write(self._content)
        return True

    def _is_last(self, number: int) -> bool:
        """Whether nobody is further: this process may have slept since it looked. Then its lease is removed."""
        if _last(self._folder) <= number:
            return True
        _path(self._folder, number).unlink(missing_ok=True)
        return False

    def _clear_away(self, now: float) -> None:
        """Remove former leases, from the first on, and what those left long ago who ended on the way to one."""
        with suppress(OSError):
            for number in _numbers(self._folder):
                if number < self._number:
                    _path(self._folder, number).unlink(missing_ok=True)
            for path in self._folder.glob(f"{NAME}-*-*"):
                if now - path.stat().st_mtime > LONGEST_SECONDS:
                    path.unlink(missing_ok=True)

    def _renew_on(self) -> None:
        self._beat = threading.Thread(target=self._renew, name=NAME, daemon=True)
        self._beat.start()

    def _renew(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread hears them
        while not self._over.wait(self._holder.term / BEATS):
            with suppress(OSError):  # a disk that cannot be reached for a moment
                if not self._is_mine() and (self._over.wait(0.1) or not self._is_mine()):
                    break
                os.utime(self._path)
        if not self._over.is_set():
            self._lost()

    def _is_mine(self) -> bool:
        if not self._number or _path(self._folder, self._number + 1).exists():
            return False
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
    if not (last := _last(folder)):
        return False
    found = _look(_path(folder, last))
    # One that is gone between the two looks has given way to the next.
    return found is None or not found.is_void(_now(folder))


def _written(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _path(folder: Path, number: int) -> Path:
    return folder / f"{NAME}-{number:06}"


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of the leases in a folder, in their order."""
    try:
        found = [_NUMBERED.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match in found if match)


def _last(folder: Path) -> int:
    """Return the number of the lease that counts, 0 where there is none."""
    return max(_numbers(folder), default=0)


def _look(path: Path) -> _Found | None:
    try:
        with path.open("rb") as file:  # opened each time, upon which NFS asks its server for what is new
            return _Found(file.read(MOST_BYTES), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def _now(folder: Path) -> float:
    """Return what time it is for the disk."""
    probe = folder / f"{NAME}-now-{secrets.token_hex(8)}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
