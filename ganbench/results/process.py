"""Which process writes a file, and whether it is still there, as far as another process can tell. Imports no torch."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

PROC = Path("/proc")
_START = 19
"""Where after a process's name its start stands in /proc/PID/stat (proc(5): field 22, the state being field 3)."""


@dataclass(frozen=True)
class Process:
    """A process as others may know it.

    `system`: where `pid` means something, a boot of a machine and a space of process ids (containers have their own),
    empty where that is not known. `began`: when it started, in ticks of that boot, so that another process which got
    its id is told apart; None where that is not known.
    """

    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    system: str = ""
    began: int | None = None


def this_process() -> Process:
    """Return the process that asks."""
    return Process(socket.gethostname(), os.getpid(), _system(), _began(os.getpid()))


def is_alive(process: Process) -> bool | None:
    """Whether a process is still there; None where it is of another machine, so that it cannot be told."""
    here = this_process()
    if os.name != "posix" or (process.host, process.system) != (here.host, here.system):
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and another user's
        return True
    return _began(process.pid) == process.began


def _system() -> str:
    with suppress(OSError):
        boot = (PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(PROC / 'self' / 'ns' / 'pid').readlink()}"
    return ""


def _began(pid: int) -> int | None:
    """Return when a process started; None where that is not known, or where it has ended and waits to be buried."""
    with suppress(OSError, ValueError, IndexError):
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[_START])
    return None
