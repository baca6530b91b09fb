"""The names of what is installed, remembered so that a shell can complete them without importing a plugin or torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench import __version__
from ganbench.contract.types import digest
from ganbench.errors import UserError
from ganbench.files import cache_folder, write_atomically

if TYPE_CHECKING:
    from ganbench.runs.registry import Registry
    from ganbench.runs.steps import Begin

Names = Mapping[str, Sequence[str]]
"""By kind, and under `family` the families of variants."""


def remembered() -> Names | None:
    """Return the names that were remembered for the plugins that are installed now, or None."""
    with suppress(OSError, ValueError, UserError, TypeError, AttributeError):
        found = json.loads(_path().read_text(encoding="utf-8"))
        return {str(kind): [str(name) for name in names] for kind, names in found.items()}
    return None


def remember(names: Names) -> None:
    """Keep names for the next time; where that cannot be, they are asked for again."""
    with suppress(UserError):
        content = json.dumps(names, indent=1).encode()
        write_atomically(_path(), lambda file: file.write(content))


def names_of(registry: Registry) -> dict[str, list[str]]:
    """Return the names of everything that was found."""
    found = {str(kind): sorted(names) for kind, names in registry.entries.items()}
    families = {entry.item.family for owners in registry.entries["variant"].values() for entry in owners}
    return {**found, "family": sorted(families)}


def names_apart(begin: Begin) -> dict[str, list[str]]:
    """Find all that is installed, in a process for the plugins, and return the names."""
    from ganbench.runs.registry import discover

    return names_of(discover(begin=begin))


def _path() -> Path:
    """Return where names are kept: under what is installed, so that another plugin is another file."""
    points = entry_points(group="ganbench")
    installed = sorted([point.name, point.value, point.dist.version if point.dist else ""] for point in points)
    return cache_folder() / "names" / f"{digest([__version__, installed])[:16]}.json"
