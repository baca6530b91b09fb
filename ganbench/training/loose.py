"""Loose kernels, which give other bits each time: PyTorch names them in warnings, and a run keeps the names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

NAMED = (
    r"(\S.*?) does not have a deterministic implementation",
    r"(\S.*?) defaults to a non-deterministic algorithm",  # kinds of attention
    r".*this operation is not deterministic because it uses (CuBLAS)",
)
"""How PyTorch's warnings begin where algorithms are to be deterministic and one is not."""


class LooseKernels:
    """What of PyTorch's operations was heard of. `names`: in the order of time; `known`: those of an earlier part."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.names = list(known)
        self._told = len(self.names)
        self._next: Callable[..., Any] = warnings.showwarning

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen inside the block."""
        with warnings.catch_warnings():
            self.listen()
            yield

    def listen(self) -> None:
        """Listen from now on, whoever has set up warnings otherwise meanwhile; all others go where they went."""
        for pattern in NAMED:
            warnings.filterwarnings("always", message=pattern)
        if warnings.showwarning != self._hear:
            self._next, warnings.showwarning = warnings.showwarning, self._hear

    def fresh(self) -> list[str]:
        """Return the names that were not returned before."""
        found, self._told = self.names[self._told :], len(self.names)
        return found

    def forget(self) -> None:
        """Begin anew."""
        self.names, self._told = [], 0

    def _hear(self, message: Warning | str, *rest: Any, **named: Any) -> None:
        name = named_in(str(message))
        if name is None:
            self._next(message, *rest, **named)
        elif name not in self.names:
            self.names.append(name)


def named_in(text: str) -> str | None:
    """Return the operation that a warning names as not deterministic, or None for any other."""
    matches = (re.match(pattern, text, re.IGNORECASE) for pattern in NAMED)
    return next((match[1] for match in matches if match), None)
