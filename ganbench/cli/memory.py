"""What memory is in use: by the command with all that it has started, and by the machine, as Linux tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ganbench.results.process import PROC
from ganbench.results.progress import Memory

CONTAINER = Path("/sys/fs/cgroup")
"""Where a container is told how much memory it may use (cgroup v2)."""


def memory_in_use() -> Memory | None:
    """Return what memory is in use; None where the system does not tell. Memory that processes share counts once."""
    try:
        lines = (line.split() for line in (PROC / "meminfo").read_text(encoding="ascii").splitlines())
        known = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
        machine = known["MemTotal"] - known["MemAvailable"], known["MemTotal"]
        return Memory(sum(map(_proportional, _family(os.getpid()))), *(_of_container(machine[1]) or machine))
    except (OSError, ValueError, KeyError):
        return None


def _of_container(total: int) -> tuple[int, int] | None:
    """Return what a container uses and may use; None where it may use all that the machine has."""
    with suppress(OSError, ValueError, KeyError):  # of no container, or without a limit
        most = int((CONTAINER / "memory.max").read_text(encoding="ascii"))
        used = int((CONTAINER / "memory.current").read_text(encoding="ascii"))
        pairs = (line.split() for line in (CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines())
        unused = {name: int(number) for name, number in pairs}["inactive_file"]  # given back as soon as it is needed
        return (max(0, used - unused), most) if most < total else None
    return None


def _family(pid: int) -> set[int]:
    """Return a process and all that it has started, and these in turn."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # it may just have ended
                parent = int((folder / "stat").read_bytes().rpartition(b") ")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, ahead = set[int](), [pid]
    while ahead:
        found.add(each := ahead.pop())
        ahead += children.get(each, [])
    return found


def _proportional(pid: int) -> int:
    """Return the bytes of a process's memory, of what it shares with others its part."""
    with suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0
