"""Finding the observers that a command asks for: they alone are imported in its own process. Imports no torch."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ganbench.contract.observers import Observer
from ganbench.errors import UserError, quoted, suggestion
from ganbench.runs.blame import blaming
from ganbench.runs.hints import require_plugin
from ganbench.runs.registry import HOOKS, Entry, Registry, discover

PREFIX = "observer-"
"""How the entry point of an observer is called, before its name: it is found without importing any other."""
LOAD_SECONDS = 60.0
"""How long all of them together may take to be imported and to look at their arguments."""
NOTHING = (("", ""),)
"""Names and distributions of which none is installed."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Asked:
    """An observer as it was asked for, and what is said of it: `title` holds nothing that is secret."""

    observer: Observer
    argument: str
    entry: Entry

    @property
    def title(self) -> str:
        """Name it as it was asked for."""
        argument = self.hidden(self.argument)
        return f"--observe {self.observer.name}{f':{argument}' if argument else ''}"

    def hidden(self, text: str) -> str:
        """Take what is secret out of a text: the argument where it is said to be, and passwords in addresses."""
        if self.observer.secret and self.argument:
            text = text.replace(self.argument, "…")
        return re.sub(r"(?<=://)[^/\s@]+@", "…@", text)


def find(texts: Sequence[str], files: Sequence[Path]) -> tuple[list[Asked], dict[str, str]]:
    """Return the observers that are asked for, and by name why an installed one is broken.

    `texts`: `name` or `name:argument`; `files`: plugins that are single files, of which those with the hook are
    imported. Raises `UserError` for a name that there is none of, a package that is missing, and an argument that is
    wrong.
    """
    if not texts:
        return [], {}
    wanted = [(name, argument) for name, _, argument in (text.partition(":") for text in dict.fromkeys(texts))]
    return _within(LOAD_SECONDS, lambda: _found(wanted, files))


def _found(wanted: Sequence[tuple[str, str]], files: Sequence[Path]) -> tuple[list[Asked], dict[str, str]]:
    points = {f"{PREFIX}{name}" for name, _ in wanted}
    installed = [point for point in entry_points(group="ganbench") if point.name in points]
    only = [(point.name, point.dist.name if point.dist else "unknown") for point in installed]
    registry = discover([path for path in files if _offers(path)], only or NOTHING)
    asked, broken = [], {}
    for name, argument in wanted:
        if not registry.entries["observer"].get(name) and (why := registry.broken.get(f"{PREFIX}{name}")):
            broken[name] = why
        else:
            asked.append(_checked(name, argument, registry))
    return asked, broken


def _checked(name: str, argument: str, registry: Registry) -> Asked:
    if not registry.entries["observer"].get(name):
        raise UserError(_unknown(name, registry))
    entry = registry.get("observer", name)
    observer: Observer = entry.item
    missing = [each for each in observer.needs if not _is_installed(each)]
    if missing:
        mend = f": pip install {observer.install!r}" if observer.install else ""
        lacking = f"the package{'s' * (len(missing) > 1)} {', '.join(missing)}"
        raise UserError(f"--observe {name} needs {lacking}, which {_are(missing)} not installed{mend}")
    asked = Asked(observer, argument, entry)
    try:
        with blaming(f"{name} cannot look at its argument", lambda: entry.files):
            observer.check(argument)
    except UserError as error:
        raise UserError(asked.hidden(f"--observe {name}: {error}")) from None
    return asked


def _is_installed(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.origin is not None  # a mere folder, as trackers make them, is no package


def _are(things: Sequence[str]) -> str:
    return "are" if len(things) > 1 else "is"


def _unknown(name: str, registry: Registry) -> str:
    points = {point.name.removeprefix(PREFIX) for point in entry_points(group="ganbench") if _is_observer(point.name)}
    known = sorted(points | registry.entries["observer"].keys())
    hint = suggestion(name, known) or f"; there are {', '.join(known) or 'none'}, and those of --plugin FILE"
    return f"--observe: unknown observer {quoted(name)}{hint}"


def _is_observer(point: str) -> bool:
    return point.startswith(PREFIX)


def _offers(path: Path) -> bool:
    """Whether a plugin's file has the hook: of others the command imports none, they may need torch."""
    require_plugin(path)
    try:
        return HOOKS["observer"] in path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"--plugin {path} cannot be read: {error.strerror or error}") from None


def _within(seconds: float, function: Callable[[], Result]) -> Result:
    """Return what a function returns, or raise what it raises; where it takes longer, a `UserError`."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="observers", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise UserError(f"--observe: its plugin had not been imported after {seconds:g} seconds")
    return results[0]
