"""Where a command's words go: the table alone to standard output, all else to standard error, which never fails.

Whatever cannot be shown is replaced: symbols that the encoding lacks, and characters that would steer a terminal.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TextIO, cast

from ganbench.errors import DiskError

REPLACED = "ganbench.replaced"
"""The name of the error handler of all that is written."""
_SPELT = {
    "±": "+/-", "×": "x", "÷": "/", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-", "≤": "<=", "≥": ">=",
    "≠": "!=", "≈": "~", "→": "->", "←": "<-", "↑": "^", "↓": "v", "†": "+", "½": "1/2", "²": "^2", "³": "^3",
    "∞": "inf", "‖": "||", "«": '"', "»": '"', "“": '"', "”": '"', "‘": "'", "’": "'", "━": "=", "╸": "=", "╺": "=",
}  # fmt: skip
# C0 without tab and newline, DEL, C1, and what changes the direction of text or separates lines.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    # A byte of a path that is no text is shown as the byte that it is.
    spelt = "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else _SPELT.get(c, "?") for c in wrong)
    return spelt, error.end


codecs.register_error(REPLACED, _replace)


def visible(text: str) -> str:
    """Spell out the characters that would steer a terminal, as an escape sequence in a name does."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


class Unfailing(io.FileIO):
    """A descriptor whose writes are lost where they cannot be made: a device that is full, a reader that is gone."""

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        """Write what can be written and say that all was."""
        rest = memoryview(data).cast("B")
        with suppress(OSError):
            while rest and (written := super().write(rest)):
                rest = rest[written:]
        return len(data)


def open_streams() -> None:
    """Make the process's own streams safe to write to; ones that a caller has put in their places are let be."""
    with suppress(OSError):
        while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:  # one that is closed would be taken by the next file
            os.set_inheritable(lowest, True)
        os.close(lowest)
    for descriptor in (1, 2):
        with suppress(OSError):
            os.set_blocking(descriptor, True)  # another program on the same pipe may have wanted it otherwise
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = unfailing(2, sys.__stderr__)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=REPLACED)


def print_to_stderr() -> None:
    """Send all that this process prints to standard error, which never fails from now on."""
    with suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr = unfailing(2, sys.__stderr__)


def unfailing(descriptor: int, like: TextIO | None = None) -> TextIO:
    """Return a text stream to a descriptor whose writes never fail, with the encoding of another."""
    raw = Unfailing(descriptor, "wb", closefd=False)
    encoding = like.encoding if like is not None else None
    return io.TextIOWrapper(raw, encoding=encoding, errors=REPLACED, line_buffering=True, write_through=True)


@dataclass
class _Output:
    """Where standard output goes while nobody else may write to it; `file` is None where it is closed."""

    file: TextIO | None


_kept: _Output | None = None


@contextmanager
def output_kept() -> Iterator[None]:
    """Keep standard output to `show` inside the block; what anybody else prints goes to standard error."""
    global _kept
    before, stdout = _kept, cast("TextIO | None", sys.stdout)
    descriptor = None
    try:
        if stdout is not None and sys.stdout is sys.__stdout__:  # else a caller has put another stream in its place
            with suppress(OSError):
                stdout.flush()
            descriptor = os.dup(1)
            os.dup2(2, 1)  # children and libraries in C print there as well
            own = io.FileIO(descriptor, "wb", closefd=False)
            stdout = io.TextIOWrapper(io.BufferedWriter(own), encoding=stdout.encoding, errors=REPLACED)
        _kept = _Output(stdout)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _kept = before
        if descriptor is not None:
            os.dup2(descriptor, 1)
            os.close(descriptor)


def show(text: str, *, end: str = "\n") -> None:
    """Print what the command is for on standard output. Raises `DiskError` where that cannot be written."""
    file = _kept.file if _kept is not None else sys.stdout
    if file is None:
        raise DiskError("cannot write standard output: it is closed")
    try:
        print(visible(text), file=file, end=end, flush=True)
    except OSError as error:
        give_up(file)
        if isinstance(error, BrokenPipeError):  # its reader has seen enough
            raise
        raise DiskError(f"cannot write standard output: {error.strerror or error}") from error


def note_warnings(note: Callable[[str], None]) -> None:
    """Hand warnings of ganbench's own to `note` from now on, and drop all others."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="ganbench")
    warnings.showwarning = lambda message, *_, **__: note(str(message))


_above: Callable[[str], object] | None = None
_LONGEST_LINE = 10_000
"""Of a line that does not end so many bytes are kept."""


@contextmanager
def told_above(put: Callable[[str], object]) -> Iterator[None]:
    """Let `put` write what is told inside the block, by this process and by runs, above what stands on the screen."""
    global _above
    before, _above = _above, put
    try:
        yield
    finally:
        _above = before


def tell(text: str) -> None:
    """Print news, notes and errors on standard error, where that is of any use."""
    if _above is not None:
        _above(visible(text))
    elif sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(visible(text), file=sys.stderr, flush=True)


class Relay:
    """Passes on to standard error what a run prints, as it is; where a screen stands, the lines that it completes."""

    def __init__(self) -> None:
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Pass on what was printed."""
        if _above is None:
            with suppress(OSError):
                Unfailing(2, "wb", closefd=False).write(data)
            return
        *lines, rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._put(line)
        self._rest = rest[-_LONGEST_LINE:]

    def end(self) -> None:
        """Pass on what has no end of a line."""
        self._put(self._rest)
        self._rest = b""

    def _put(self, line: bytes) -> None:
        # What a carriage return goes back over would be overwritten, as each state of a bar is by the next.
        left = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace").rstrip()
        if left and _above is not None:
            _above(visible(left))


def give_up(file: TextIO) -> None:
    """Let what is still buffered go nowhere, so that closing the stream does not fail a second time."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)
