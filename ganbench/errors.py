"""Errors that a user can mend, told in one sentence."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

LONGEST_NAME = 200
"""From so many characters on nothing is like a text."""

_PART = r"[^\s<>\"'`|\\^{}()\[\]]"
ADDRESS = re.compile(rf"https?://(?:{_PART}|\({_PART}*\)){{1,500}}(?<![.,;:!?])")
"""An address on the web as it stands in a sentence, without the marks that end that."""


class UserError(Exception):
    """A mistake in the request; the command line prints it without a traceback and exits with 2."""


class PluginError(UserError):
    """A plugin failed in a way that is no sentence of its own for the user."""


class DiskError(UserError):
    """The disk refused a write (full, read-only, gone); nothing that stood there before is harmed."""


def nearest(wrong: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return what is known and closest to what was written, or None; `cutoff`: 1 is the same text."""
    spelt = {name.lower(): name for name in known if name != wrong}
    # Whoever writes a page for a name means none of them, and comparing it would take minutes.
    close = get_close_matches(wrong.lower(), spelt, n=1, cutoff=cutoff) if len(wrong) < LONGEST_NAME else []
    return spelt[close[0]] if close else None


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return `: did you mean 'x'?` where something close is known, else nothing."""
    close = nearest(wrong, known)
    return f": did you mean {close!r}?" if close else ""


def brief(text: str, width: int = 100) -> str:
    """Return a text on one line, cut between words to so many characters; an address is never cut nor lost."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    found = list(ADDRESS.finditer(text))
    end = next((each.start() for each in found if each.start() < width < each.end()), text.rfind(" ", 0, width))
    end = width if end < 0 else end
    lost = dict.fromkeys(each[0] for each in found if each.start() >= end)
    return " ".join([text[:end].rstrip(), "[...]", *list(lost)[:2]]).lstrip()


def named(error: BaseException) -> str:
    """Return the type of an error and what it says, where it says something."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def quoted(text: str) -> str:
    """Return a text as Python writes it, of a long one the beginning."""
    return repr(text) if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]!r}… ({len(text):,} characters)"


@contextmanager
def during(what: str) -> Iterator[None]:
    """Note in what is raised inside the block during what it was; `place_of` tells it."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


def place_of(error: BaseException, files: Collection[str], *more: str) -> str:
    """Return in brackets during what an error was raised, its innermost line in some files, and more, or nothing.

    `files`: real paths, those of a plugin as a rule.
    """
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames = []  # it says itself where it is
    lines = [f"{Path(name).name}, line {line}" for name, line in frames if os.path.realpath(name) in files]
    told = [*map(brief, getattr(error, "__notes__", [])), *lines[-1:], *more]
    return f" ({'; '.join(told)})" if told else ""
