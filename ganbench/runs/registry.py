"""Finding plugins: entry points and single files, each with its origin; one broken plugin harms nobody else."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any, Literal

import pluggy

from ganbench.contract import hookspecs
from ganbench.contract.types import CONTROL, digest
from ganbench.errors import UserError, suggestion
from ganbench.files import sha256_of
from ganbench.runs.code import code_of
from ganbench.runs.stopping import Stopped
from ganbench.training.switches import kept

Kind = Literal["variant", "dataset", "backbone", "metric", "extractor", "preset"]
HOOKS: dict[Kind, str] = {
    "variant": "ganbench_variants",
    "dataset": "ganbench_datasets",
    "backbone": "ganbench_backbones",
    "metric": "ganbench_metrics",
    "extractor": "ganbench_extractors",
    "preset": "ganbench_presets",
}
FILE = "file"
"""What stands for the distribution of a plugin that is a single file."""


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: its name, distribution, version, and the SHA-256 of its module's file."""

    plugin: str
    distribution: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})" if self.version else self.plugin


@dataclass(frozen=True)
class Entry:
    """One thing that a plugin offers, with its origin, and the module and distribution that it stands in."""

    item: Any
    origin: Origin
    module: ModuleType | None = None
    distribution: Distribution | None = None

    @cached_property
    def code(self) -> str:
        """The hash of what the plugin executes."""
        return code_of(self.module, self.distribution) if self.module is not None else ""

    @property
    def path(self) -> str:
        """The file that it stands in."""
        return getattr(self.module, "__file__", None) or ""

    @property
    def owner(self) -> str:
        """Name who offers it so that two owners can be told apart."""
        return self.path if self.origin.distribution == FILE else str(self.origin)


class Registry:
    """Everything installed, by kind and name. `broken`: plugins that could not be used, with the reason.

    `loaded`: all whose modules were imported, whatever became of them.
    """

    def __init__(self) -> None:
        self.entries: dict[Kind, dict[str, list[Entry]]] = {kind: {} for kind in HOOKS}
        self.broken: dict[str, str] = {}
        self.loaded: set[str] = set()

    def add(self, plugin: Any, origin: Origin, module: ModuleType, distribution: Distribution | None = None) -> None:
        """Take in what a plugin offers, its module as a rule. Raises whatever is wrong, and then keeps nothing of it.

        `module`: where it stands; `distribution`: what brought it, None for a single file.
        """
        manager = pluggy.PluginManager("ganbench")
        manager.add_hookspecs(hookspecs)
        manager.register(plugin, name=origin.plugin)
        manager.check_pending()
        offered: dict[tuple[Kind, str], Any] = {}
        for kind, hook in HOOKS.items():
            if hasattr(plugin, hook) and not hasattr(getattr(plugin, hook), "ganbench_impl"):
                raise UserError(f"{origin.plugin}: {hook} is not marked with @hookimpl")
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                items = implementation.function()
                if isinstance(items, type | str) or not isinstance(items, Iterable):
                    found = f"the class {items.__name__}" if isinstance(items, type) else repr(items)
                    raise UserError(f"{origin.plugin}: {hook} returns {found} instead of a list")
                for item in items:
                    if fault := _fault(kind, item):
                        raise UserError(f"{origin.plugin}: {hook} offers {item!r}, which {fault}")
                    if (kind, item.name) in offered:
                        raise UserError(f"{origin.plugin}: {hook} offers two things of the name {item.name!r}")
                    offered[kind, item.name] = item
        if not offered:
            raise UserError(f"{origin.plugin} offers nothing: it has no hook such as ganbench_variants with @hookimpl")
        for (kind, name), item in offered.items():
            entry = Entry(item, origin, module, distribution)
            self.entries[kind].setdefault(name, []).append(entry)

    def get(self, kind: Kind, name: str) -> Entry:
        """Return the one thing of that kind and name; an unknown name or two owners raise `UserError`."""
        owners = self.entries[kind].get(name, [])
        if len(owners) > 1:
            who = " and ".join(entry.owner for entry in owners)
            raise UserError(f"two plugins claim the {kind} {name!r}: {who}; uninstall one of them")
        if not owners:
            known = sorted(self.entries[kind])
            if name in self.broken:
                raise UserError(f"the plugin {name!r} is broken: {self.broken[name]}")
            broken = f"; broken plugins: {', '.join(self.broken)}" if self.broken else ""
            hint = suggestion(name, known) or f"; there are {', '.join(known) or 'none'}{broken}"
            raise UserError(f"unknown {kind} {name!r}{hint}")
        return owners[0]

    def needed_by(self, names: Iterable[tuple[Kind, str]]) -> list[Entry]:
        """Return the entries of these kinds and names, where there are any."""
        return [entry for kind, name in names for entry in self.entries[kind].get(name, [])]

    def find(self, kind: Kind, pattern: str) -> list[str]:
        """Return the names that a pattern stands for, sorted; one without match raises `UserError`.

        A pattern is a name, a glob, or `all`, which leaves out controls; of variants also `family:NAME`.
        """
        families = {name: [e.item.family for e in owners] for name, owners in self.entries["variant"].items()}
        if pattern == "all":
            return sorted(name for name in self.entries[kind] if kind != "variant" or CONTROL not in families[name])
        if kind == "variant" and pattern.startswith("family:"):
            family = pattern.removeprefix("family:")
            if names := sorted(name for name, of in families.items() if family in of):
                return names
            known = sorted({family for of in families.values() for family in of})
            hint = suggestion(family, known) or f"; there are {', '.join(known)}"
            raise UserError(f"no variant is of the family {family!r}{hint}")
        if not set(pattern) & set("*?["):
            self.get(kind, pattern)
            return [pattern]
        names = sorted(name for name in self.entries[kind] if fnmatchcase(name, pattern))
        if not names:
            raise UserError(f"no {kind} matches {pattern!r}; there are {', '.join(sorted(self.entries[kind]))}")
        return names


def discover(files: Sequence[Path] = (), only: Collection[tuple[str, str]] = ()) -> Registry:
    """Load every installed plugin, and single files. A broken installed one is noted, a broken file raises.

    `only`: names and distributions of the plugins to load, where not all are wanted. None may change what others find:
    the environment, the current folder, PyTorch's defaults and more are put back after each.
    """
    registry = Registry()
    for point in sorted(entry_points(group="ganbench"), key=lambda point: (point.name, point.value)):
        origin = _origin_of(point)
        if only and (origin.plugin, origin.distribution) not in only:
            continue
        registry.loaded.add(str(origin))
        with unchanged():
            _load(point, origin, registry)
    for path in {os.path.realpath(path): path for path in files}.values():
        with unchanged():
            module = load_file(path)
            origin = Origin(path.name, FILE, "", sha256_of(path))
            registry.loaded.add(str(origin))
            try:
                registry.add(module, origin, module)
            except BaseException as error:
                _let_pass(error)
                raise UserError(f"--plugin {path}: {_reason(error)}") from error
    return registry


def needed(used: Iterable[Entry], files: Sequence[Path]) -> tuple[tuple[tuple[str, str], ...], tuple[Path, ...]]:
    """Return what `discover` needs to load so that there are these entries: `only` of it, and files."""
    used = list(used)
    places = {Path(entry.path).resolve() for entry in used if entry.origin.distribution == FILE and entry.path}
    names = sorted({(entry.origin.plugin, entry.origin.distribution) for entry in used})
    return tuple(names), tuple(path for path in files if path.resolve() in places)


@contextmanager
def unchanged() -> Iterator[None]:
    """Put back after the block what a stranger's module may change for the whole process, and processes it starts."""
    environment, folder = dict(os.environ), _here()
    try:
        with kept():
            yield
    finally:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        if folder is not None and _here() != folder:
            os.chdir(folder)


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return None


def _load(point: EntryPoint, origin: Origin, registry: Registry) -> None:
    try:
        plugin, module = point.load(), sys.modules[point.module]
        registry.add(plugin, replace(origin, sha256=_sha256_of(module)), module, point.dist)
    except BaseException as error:  # a stranger's module may fail in any way, and harms nobody else
        _let_pass(error)
        name = f"{point.name} ({origin.distribution})" if point.name in registry.broken else point.name
        registry.broken[name] = _reason(error)


def load_file(path: Path) -> ModuleType:
    """Import a plugin that is one file. Raises `UserError` where it is missing or does not import."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"--plugin {path}: there is no such file") from None
    except OSError as error:  # forbidden, or links in a circle
        raise UserError(f"--plugin {path} cannot be read: {error.strerror or error}") from None
    if not path.is_file():
        raise UserError(f"--plugin {path}: it is not a file")
    name = f"ganbench_file_{path.stem}_{digest(os.path.realpath(path))[:8]}"  # two folders may hold files of one name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        _let_pass(error)
        raise UserError(f"--plugin {path} does not load: {_reason(error)}") from error
    return module


def _fault(kind: Kind, item: Any) -> str | None:
    from ganbench.contract.backbone import Backbone
    from ganbench.contract.data import Dataset
    from ganbench.contract.metrics import Extractor, Metric
    from ganbench.contract.preset import Preset
    from ganbench.contract.variant import Control, Variant

    contracts = {
        "dataset": Dataset,
        "backbone": Backbone,
        "metric": Metric,
        "extractor": Extractor,
        "preset": Preset,
    }
    if kind != "variant":
        if not isinstance(item, contracts[kind]):
            return f"is not an instance of ganbench.{contracts[kind].__name__}"
    elif not isinstance(item, type) or not issubclass(item, Variant):
        return "is not a subclass of ganbench.Variant"
    elif inspect.isabstract(item):
        return f"does not define {', '.join(sorted(item.__abstractmethods__))}"
    elif issubclass(item, Control) != (item.family == CONTROL):
        if issubclass(item, Control):
            return f"is a Control and calls its family {item.family!r}: it is not trained, leave `family` out"
        return f"is of the family {CONTROL!r}, but no subclass of ganbench.Control"
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name == "all":
        return f"has the name {name!r}; write letters, digits and hyphens, but not 'all'"
    return None


def _let_pass(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | Stopped):  # whoever asks to stop is heard
        raise error


def _reason(error: BaseException) -> str:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return shorten(f"{kind}{error}", 300)  # of several lines, any may hold the reason


def _origin_of(point: EntryPoint) -> Origin:
    distribution = point.dist
    return Origin(
        point.name,
        distribution.name if distribution else "unknown",
        distribution.version if distribution else "",
        "",
    )


def _sha256_of(module: ModuleType) -> str:
    # An edited plugin must give another hash, so of a package every file counts.
    if not module.__file__:
        return ""
    file = Path(module.__file__)
    if not hasattr(module, "__path__"):
        return sha256_of(file)
    return digest({str(path.relative_to(file.parent)): sha256_of(path) for path in sorted(file.parent.rglob("*.py"))})
