"""Stretches of plugins' code, told of before they are entered: should one end its process, it is known which it was."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganbench.errors import brief

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
    it likes.
    """

    key: tuple[str, ...]
    what: str
    seconds: float | None = None


HARNESS = Path(__file__).parents[1]
"""The folder of what is no plugin."""
Begin = Callable[[Step], str]
"""Tells of a step that is about to begin; returns nothing, or why it must not be: it has fallen before."""


def unwatched(step: Step) -> str:
    """Begin any step, watched by nobody."""
    return ""


def told(error: BaseException) -> str:
    """Tell in one line what a plugin raised, and where: the innermost line of the file that was called."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not Path(f.filename).is_relative_to(HARNESS)]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return brief(f"{type(error).__name__}: {error}", 300) + where
