"""Errors that a user can mend, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the request; the command line prints it without a traceback and exits with 2."""


class DiskError(UserError):
    """The disk refused a write (full, read-only, gone); nothing that stood there before is harmed."""


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return `: did you mean 'x'?` where something close is known, else nothing."""
    spelt = {name.lower(): name for name in known if name != wrong}
    close = get_close_matches(wrong.lower(), spelt, n=1)
    return f": did you mean {spelt[close[0]]!r}?" if close else ""
