"""Stretches of plugins' code, told of before they are entered: should one end its process, it is known which it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

IMPORT_SECONDS = 120.0
"""How long importing a plugin may take."""
BUILD_SECONDS = 120.0
"""How long a plugin may take to say whether it fits, and to be built."""
TRIAL_SECONDS = 600.0
"""How long trying out a small batch, or one check of a variant, may take."""


@dataclass(frozen=True)
class Step:
    """A stretch of a plugin's code.

    `key`: who falls with it; `what`: as in "… ended its process"; `seconds`: how long it may take, None for as long as
    it likes; `share`: how much is done of what takes long, from 0 to 1, where that is known.
    """

    key: tuple[str, ...]
    what: str
    seconds: float | None = None
    share: float | None = None


Begin = Callable[[Step], str]
"""Tells of a step that is about to begin; returns nothing, or why it must not be: it has fallen before."""


def unwatched(step: Step) -> str:
    """Begin any step, watched by nobody."""
    return ""
