"""News of a run that is made elsewhere: lines of JSON in a file of the results, written there and followed here."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ganbench.errors import DiskError, UserError
from ganbench.results.codec import decode, encode
from ganbench.results.record import Mark
from ganbench.runs.executors.worker import Event
from ganbench.runs.job import Job
from ganbench.training.budget import Tick

TICK_SECONDS = 1.0
"""No more than one tick is written in this time."""


@dataclass(frozen=True)
class Told:
    """An event without its job and its record."""

    share: float = 0.0
    tick: Tick | None = None
    mark: Mark | None = None
    note: str = ""
    put_off: bool = False


@cache
def _adapter() -> TypeAdapter[Told]:
    return TypeAdapter(Told)


def append(path: Path, content: bytes) -> None:
    """Add lines to the news in a file, with one call to the disk. Raises `DiskError`."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def whole_lines(path: Path, at: int) -> bytes:
    """Return the lines of a file from a place on, without what is only half there; nothing where there is no file."""
    try:
        with path.open("rb") as file:  # opened each time, upon which NFS asks its server for what is new
            file.seek(at)
            content = file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    return content[: content.rfind(b"\n") + 1]


class Journal:
    """Writes news into a file, each with one call, so that a reader never takes half a line for a whole one."""

    def __init__(self, path: Path) -> None:
        self._path, self._ticked = path, -TICK_SECONDS

    def write(self, event: Event) -> None:
        """Add an event. Raises `DiskError`."""
        if event.tick is not None:
            if time.monotonic() - self._ticked < TICK_SECONDS:
                return
            self._ticked = time.monotonic()
        told = Told(event.share, event.tick, event.mark, event.note, event.put_off)
        line: dict[str, Any] = {"told": _adapter().dump_python(told, mode="json", exclude_defaults=True)}
        if event.record is not None:
            line["record"] = json.loads(encode(event.record))
        self._add(line)

    def fail(self, why: str) -> None:
        """Add that the run could not be made here."""
        self._add({"failed": why})

    def _add(self, line: dict[str, Any]) -> None:
        append(self._path, json.dumps(line).encode() + b"\n")


class Follower:
    """Reads what a journal has been given since it was last asked; a journal that is not there has told nothing."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job, self._at = path, job, 0
        with suppress(OSError):  # a file that was looked for in vain may stay unseen for a minute on NFS
            path.touch()

    def read(self) -> list[Event | str]:
        """Return events in their order, or in place of the last why the run could not be made. Raises `DiskError`."""
        whole = whole_lines(self._path, self._at)
        self._at += len(whole)
        return [self._event(line) for line in whole.splitlines()]

    def _event(self, line: bytes) -> Event | str:
        """Read a line without trust: what is damaged says so, and tells nothing else."""
        try:
            found = json.loads(line)
            if "failed" in found:
                return str(found["failed"])
            told = _adapter().validate_json(json.dumps(found["told"]))
            record = decode(found["record"], self._path) if "record" in found else None
        except (ValueError, TypeError, KeyError, RecursionError, UserError) as error:
            return Event(self._job, note=f"its news in {self._path} is damaged: {type(error).__name__}")
        if record is not None and record.spec.id != self._job.spec.id:
            return Event(self._job, note=f"{self._path} holds news of another run")
        return Event(self._job, told.share, told.tick, told.mark, told.note, record, told.put_off)
