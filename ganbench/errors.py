"""Errors that a user can mend, told in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_PART = r"[^\s<>\"'`|\\^{}()\[\]]"
ADDRESS = re.compile(rf"https?://(?:{_PART}|\({_PART}*\)){{1,500}}(?<![.,;:!?])")
"""An address on the web as it stands in a sentence, without the marks that end that."""


class UserError(Exception):
    """A mistake in the request; the command line prints it without a traceback and exits with 2."""


class DiskError(UserError):
    """The disk refused a write (full, read-only, gone); nothing that stood there before is harmed."""


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return `: did you mean 'x'?` where something close is known, else nothing."""
    spelt = {name.lower(): name for name in known if name != wrong}
    close = get_close_matches(wrong.lower(), spelt, n=1)
    return f": did you mean {spelt[close[0]]!r}?" if close else ""


def brief(text: str, width: int) -> str:
    """Return a text on one line, cut between words to so many characters; an address is never cut nor lost."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    found = list(ADDRESS.finditer(text))
    end = next((each.start() for each in found if each.start() < width < each.end()), text.rfind(" ", 0, width))
    end = width if end < 0 else end
    lost = dict.fromkeys(each[0] for each in found if each.start() >= end)
    return " ".join([text[:end].rstrip(), "[...]", *list(lost)[:2]]).lstrip()
