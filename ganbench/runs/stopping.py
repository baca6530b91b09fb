"""A request to stop: asked for between steps of training, and heard at once where nothing is lost by that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """The run was asked to stop. No `Exception`, because it is no failure of the plugin that it interrupts."""


class Stop:
    """Whether a run is asked to stop. `ask` is the handler of a signal, and so runs in the main thread."""

    def __init__(self) -> None:
        self.asked = False
        self._open = False

    def ask(self, *_: object) -> None:
        """Note the request; inside `at_once`, raise `Stopped`."""
        self.asked = True
        self._raise()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a request raise `Stopped` wherever the block is, for what is kept already and can be done again."""
        try:
            self._open = True
            self._raise()  # one that came before
            yield
        finally:
            self._open = False

    @contextmanager
    def later(self) -> Iterator[None]:
        """Let a request inside `at_once` wait until the end of this block, which must not be left half done."""
        if threading.current_thread() is not threading.main_thread():
            yield  # no handler runs here
            return
        was, self._open = self._open, False
        try:
            yield
        finally:
            self._open = was
        self._raise()

    def _raise(self) -> None:
        if self.asked and self._open:
            self._open = False  # once, so that clearing away is not interrupted by the same request coming again
            raise Stopped
