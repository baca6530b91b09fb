"""Finding the observers that a command asks for: they alone are imported in its own process. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganbench.contract.observers import Observer
from ganbench.errors import UserError
from ganbench.runs.blame import blaming
from ganbench.runs.imported import LOAD_SECONDS, load, usable, within
from ganbench.runs.registry import Entry, Registry


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
    return within(LOAD_SECONDS, "--observe", lambda: _found(wanted, files))


def _found(wanted: Sequence[tuple[str, str]], files: Sequence[Path]) -> tuple[list[Asked], dict[str, str]]:
    registry = load("observer", [name for name, _ in wanted], files)
    asked, broken = [], {}
    for name, argument in wanted:
        if not registry.entries["observer"].get(name) and (why := registry.broken.get(f"observer-{name}")):
            broken[name] = why
        else:
            asked.append(_checked(name, argument, registry))
    return asked, broken


def _checked(name: str, argument: str, registry: Registry) -> Asked:
    entry = usable("observer", name, registry, "--observe")
    observer: Observer = entry.item
    asked = Asked(observer, argument, entry)
    try:
        with blaming(f"{name} cannot look at its argument", lambda: entry.files):
            observer.check(argument)
    except UserError as error:
        raise UserError(asked.hidden(f"--observe {name}: {error}")) from None
    return asked
