"""What the working folder of a run still holds of its faults: the ends of the tracebacks. Imports no torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LAST_BYTES = 4_000
"""So much of the end of a file is shown."""
MOST_FILES = 10


class Log(NamedTuple):
    """The end of a file of a working folder; `cut`: whether there is more before it."""

    name: str
    text: str
    cut: bool


def logs_in(work: Path) -> list[Log]:
    """Return the ends of `error.txt` and `error-….txt`, nothing where the folder or a file is not there any more."""
    found = []
    with suppress(OSError):
        for path in sorted(work.glob("error*.txt"))[:MOST_FILES]:
            with suppress(OSError):
                found.append(_end(path))
    return found


def _end(path: Path) -> Log:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST_BYTES))
        text = file.read(LAST_BYTES).decode("utf-8", "replace")
    cut = size > LAST_BYTES
    return Log(path.name, text.partition("\n")[2] or text if cut else text, cut)
