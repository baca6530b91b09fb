"""A function that runs plugins, carried out in a process of its own: whatever they do there, this process lives on."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, TypeVar

from ganbench.errors import UserError
from ganbench.files import settle_cache
from ganbench.runs.blame import loading_files, reason_of
from ganbench.runs.executors.child import Child, leave, ready, settle_in, start
from ganbench.runs.executors.output import opened
from ganbench.runs.executors.starting import Home
from ganbench.runs.steps import Step
from ganbench.streams import note_warnings, tell

Result = TypeVar("Result")
Key = tuple[str, ...]
HARNESS = Step((), "ganbench itself")
LOOK_SECONDS = 1.0
PATIENCE = 1.0
"""Times what a step may take."""


class Fallen(Exception):
    """A step ended its process, took too long, or raised what it should not."""

    def __init__(self, step: Step, reason: str) -> None:
        super().__init__(f"{step.what}: {reason}")
        self.step, self.reason = step, reason

    def __reduce__(self) -> Any:
        """Make it one that a process can send to another."""
        return Fallen, (self.step, self.reason)


def survive(
    function: Callable[..., Result], *arguments: Any, watch: Callable[[Step], object] = lambda step: None
) -> tuple[Result, dict[Key, str]]:
    """Carry a function out apart, again and again without the steps that fell; return why those did as well."""
    fallen: dict[Key, str] = {}
    while True:
        try:
            return apart(function, *arguments, fallen=fallen, watch=watch), fallen
        except Fallen as error:
            if not error.step.key or error.step.key in fallen:
                raise UserError(str(error)) from error
            fallen[error.step.key] = str(error)


def apart(
    function: Callable[..., Result],
    *arguments: Any,
    fallen: Mapping[Key, str] | None = None,
    watch: Callable[[Step], object] = lambda step: None,
) -> Result:
    """Return what `function(*arguments, begin)` returns in a process of its own; all of these are pickled.

    `begin` is told of each step before it begins. `fallen`: by the key of a step, why it is not to begin; `watch`:
    hears of each step in this process. Raises `Fallen` with the step that ended, hung or failed, and whatever
    `UserError` the function raises.
    """
    output, prints = opened("a plugin")
    with prints:
        child = start(_serve, function, arguments, dict(fallen or {}), prints)
    failed = True
    try:
        found = _heard(child, watch)
        failed = False
        return found
    finally:
        with suppress(OSError):
            child.connection.close()
        child.kill()
        output.close(failed=failed)


def _heard(child: Child, watch: Callable[[Step], object]) -> Any:
    step, since = HARNESS, monotonic()
    while True:
        left = LOOK_SECONDS if step.seconds is None else since + PATIENCE * step.seconds - monotonic()
        if not ready([child], max(0.0, min(left, LOOK_SECONDS))):
            if left <= 0:
                raise Fallen(step, f"it had not ended after {PATIENCE * (step.seconds or 0):g} seconds")
            continue
        try:
            kind, message = child.connection.recv()
        except (EOFError, OSError):
            child.end()
            raise Fallen(step, child.cause) from None
        if kind == "step":
            step, since = message, monotonic()
            watch(step)
        elif kind == "note":
            tell(f"Note: {message}")
        elif kind == "error":
            raise message
        else:
            return message


def _serve(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    fallen: Mapping[Key, str],
    output: Connection,
    connection: Connection,
    home: Home,
) -> None:
    code, current = 1, HARNESS

    def begin(step: Step) -> str:
        nonlocal current
        if reason := fallen.get(step.key, ""):
            return reason
        connection.send(("step", step))
        current = step
        return ""

    try:
        settle_in(home, signal.SIG_DFL, output)
        settle_cache()
        note_warnings(lambda message: connection.send(("note", message)))
        answer: tuple[str, Any]
        try:
            answer = "result", function(*arguments, begin)
        except UserError as error:
            answer = "error", error
        except BaseException as error:  # this process hears of no Ctrl-C: one that is raised is a plugin's
            if current is HARNESS:
                raise
            answer = "error", Fallen(current, reason_of(error, loading_files(error)))
        connection.send(answer)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)
