"""The plugins that a command imports in its own process: those that it is asked for by name, and no other.

They are found by their entry points, which are called `KIND-NAME`. Imports no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ganbench.errors import UserError, quoted, suggestion
from ganbench.runs.hints import require_plugin
from ganbench.runs.registry import HOOKS, Entry, Kind, Registry, discover

LOAD_SECONDS = 60.0
"""How long all of them together may take to be imported and to look at their arguments."""
NOTHING = (("", ""),)
"""Names and distributions of which none is installed."""

Result = TypeVar("Result")


def load(kind: Kind, names: Iterable[str], files: Sequence[Path]) -> Registry:
    """Import the plugins of a kind that have these names, and of files those that have its hook."""
    points = {f"{kind}-{name}" for name in names}
    installed = [point for point in entry_points(group="ganbench") if point.name in points]
    only = [(point.name, point.dist.name if point.dist else "unknown") for point in installed]
    return discover([path for path in files if _offers(kind, path)], only or NOTHING)


def usable(kind: Kind, name: str, registry: Registry, option: str, more: Sequence[str] = ()) -> Entry:
    """Return what is asked for with an option. `more`: other names that would have been right.

    Raises `UserError` for a name that there is none of, and where a package is missing.
    """
    if not registry.entries[kind].get(name) and (why := registry.broken.get(f"{kind}-{name}")):
        raise UserError(f"{option}: the plugin of the {kind} {name!r} is broken: {why}")
    if not registry.entries[kind].get(name):
        raise UserError(_unknown(kind, name, registry, option, more))
    entry = registry.get(kind, name)
    missing = [each for each in entry.item.needs if not _is_installed(each)]
    if missing:
        mend = f": pip install {entry.item.install!r}" if entry.item.install else ""
        lacking = f"the package{'s' * (len(missing) > 1)} {', '.join(missing)}"
        are = "are" if len(missing) > 1 else "is"
        raise UserError(f"{option} {name} needs {lacking}, which {are} not installed{mend}")
    return entry


def within(seconds: float, option: str, function: Callable[[], Result]) -> Result:
    """Return what a function returns, or raise what it raises; where it takes longer, a `UserError`."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="plugins", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise UserError(f"{option}: its plugin had not been imported after {seconds:g} seconds")
    return results[0]


def _is_installed(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.origin is not None  # a mere folder, as trackers make them, is no package


def _unknown(kind: Kind, name: str, registry: Registry, option: str, more: Sequence[str]) -> str:
    prefix = f"{kind}-"
    points = {each.name.removeprefix(prefix) for each in entry_points(group="ganbench") if each.name.startswith(prefix)}
    known = sorted({*points, *registry.entries[kind], *more})
    hint = suggestion(name, known) or f"; there are {', '.join(known) or 'none'}, and those of --plugin FILE"
    return f"{option}: unknown {kind} {quoted(name)}{hint}"


def _offers(kind: Kind, path: Path) -> bool:
    """Whether a plugin's file has the hook: of others the command imports none, they may need torch."""
    require_plugin(path)
    try:
        return HOOKS[kind] in path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"--plugin {path} cannot be read: {error.strerror or error}") from None
