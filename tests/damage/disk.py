"""A disk that refuses: lets one write-like call on a folder fail, or every call from that one on, and counts them."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CODES = {name: getattr(errno, name) for name in ("ENOSPC", "EROFS", "EACCES", "EIO", "EDQUOT")}
_CALLS = (
    "fsync",
    "replace",
    "rename",
    "mkdir",
    "unlink",
    "remove",
    "rmdir",
    "chmod",
    "fchmod",
    "truncate",
    "ftruncate",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Disk:
    """What a disk has been asked for below `root`. `calls`: the names of the write-like ones, in order.

    `refused`: whether any was refused. Before `begin`, none is counted.
    """

    root: Path
    nth: int
    code: int
    lasting: bool
    calls: list[str] = field(default_factory=list)
    refused: bool = False
    descriptors: set[int] = field(default_factory=set)

    def owns(self, place: Any) -> bool:
        """Whether a path, or an open file, lies below the root."""
        if isinstance(place, int):
            return place in self.descriptors
        return isinstance(place, str | bytes | os.PathLike) and os.fsdecode(place).startswith(str(self.root))

    def ask(self, call: str) -> None:
        """Count a call. Raises `OSError` where it is the one to be refused."""
        self.calls.append(call)
        if len(self.calls) == self.nth or (self.lasting and len(self.calls) > self.nth):
            self.refused = True
            raise OSError(self.code, os.strerror(self.code))


class _File(io.FileIO):
    """A file whose writes may be refused, after half of what was to be written."""

    disk: Disk

    def write(self, data: Any) -> int:
        try:
            self.disk.ask("write")
        except OSError:
            view = memoryview(data).cast("B")
            super().write(view[: len(view) // 2])
            raise
        return super().write(data)

    def close(self) -> None:
        was_open = not self.closed
        if was_open:
            self.disk.descriptors.discard(self.fileno())
        super().close()
        if was_open:
            self.disk.ask("close")  # of a network's disk, that is when a quota is told


@contextmanager
def refusing(root: Path, nth: int, code: int = errno.ENOSPC, *, lasting: bool = False) -> Iterator[Disk]:
    """Let the n-th write-like call below `root` fail inside the block; `lasting`: all that follow as well.

    What C writes to a descriptor by itself is not seen: real limits of size and real full disks stand beside this.
    """
    disk = Disk(root, nth, code, lasting)
    real = {name: getattr(os, name) for name in (*_CALLS, "open", "fdopen")}
    opened = builtins.open

    def asking(name: str) -> Callable[..., Any]:
        def call(place: Any, *others: Any, **named: Any) -> Any:
            if disk.owns(place) or (named.get("dir_fd") is not None and named["dir_fd"] in disk.descriptors):
                disk.ask(name)
            return real[name](place, *others, **named)

        return call

    def os_open(place: Any, flags: int, *others: Any, **named: Any) -> int:
        mine = disk.owns(place) or named.get("dir_fd") in disk.descriptors
        if mine and flags & _WRITING:
            disk.ask("open")
        descriptor: int = real["open"](place, flags, *others, **named)
        if mine:
            disk.descriptors.add(descriptor)
        else:
            disk.descriptors.discard(descriptor)
        return descriptor

    def wrapped(place: Any, mode: str) -> io.BufferedWriter | io.BufferedRandom:
        file = _File(place, mode.replace("b", "").replace("t", ""))
        file.disk = disk
        disk.descriptors.add(file.fileno())
        return io.BufferedRandom(file) if "+" in mode else io.BufferedWriter(file)

    def fdopen(descriptor: int, mode: str = "r", *others: Any, **named: Any) -> Any:
        if descriptor in disk.descriptors and set(mode) & set("wax+") and "b" in mode:
            return wrapped(descriptor, mode)
        return real["fdopen"](descriptor, mode, *others, **named)

    def open_(place: Any, mode: str = "r", *others: Any, **named: Any) -> Any:
        if set(mode) & set("wax+") and disk.owns(place) and not isinstance(place, int):
            disk.ask("open")
            if "b" in mode:
                return wrapped(place, mode)
        return opened(place, mode, *others, **named)

    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, asking(name))
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fdopen", fdopen)
        patch.setattr(builtins, "open", open_)
        patch.setattr(io, "open", open_)
        yield disk


def content(root: Path) -> dict[str, bytes]:
    """Return what lies below a folder, without locks and leases: paths of files with their bytes."""
    paths = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(("lock", "lease-")))
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def parts(root: Path) -> list[Path]:
    """Return what unfinished writes have left below a folder."""
    return [path for path in root.rglob("*.part") if path.is_file() or any(path.iterdir())]
