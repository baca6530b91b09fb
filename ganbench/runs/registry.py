"""Finding plugins: entry points and single files, each with its origin; one broken plugin harms nobody else."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.machinery import SourceFileLoader
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pluggy

from ganbench.contract import hookspecs
from ganbench.contract.types import CONTROL, digest
from ganbench.errors import UserError, brief, quoted, suggestion
from ganbench.files import sha256_of
from ganbench.runs.blame import blaming, let_pass, loading_files, reason_of
from ganbench.runs.code import code_of, modules_of
from ganbench.runs.hints import file_of, require_plugin
from ganbench.runs.offers import Kind as Kind, fault_of, no_list
from ganbench.runs.steps import IMPORT_SECONDS, Begin, Step, unwatched
from ganbench.training.switches import kept

HOOKS: dict[Kind, str] = {
    "variant": "ganbench_variants",
    "dataset": "ganbench_datasets",
    "backbone": "ganbench_backbones",
    "metric": "ganbench_metrics",
    "extractor": "ganbench_extractors",
    "preset": "ganbench_presets",
    "observer": "ganbench_observers",
    "experiment": "ganbench_experiments",
    "executor": "ganbench_executors",
}
FILE = "file"
"""What stands for the distribution of a plugin that is a single file."""
FILE_MODULE = "ganbench_file_"
"""How the names of the modules of such plugins begin."""


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

    @cached_property
    def files(self) -> frozenset[str]:
        """The real paths of all files of the plugin."""
        found = modules_of(self.module, self.distribution) if self.module is not None else {}
        return frozenset(os.path.realpath(path) for path in found.values())

    @property
    def path(self) -> str:
        """The file that it stands in."""
        return getattr(self.module, "__file__", None) or ""

    @property
    def owner(self) -> str:
        """Name who offers it so that two owners can be told apart."""
        return self.path if self.origin.distribution == FILE else str(self.origin)

    def blamed(self, fault: str) -> AbstractContextManager[None]:
        """Turn whatever the plugin raises inside the block into a `UserError` that says so, and in which line."""
        return blaming(fault, lambda: self.files)


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
                if fault := no_list(kind, items):
                    raise UserError(f"{origin.plugin}: {hook} returns {fault}")
                for item in items:
                    if fault := fault_of(kind, item):
                        raise UserError(f"{origin.plugin}: {hook} offers {brief(repr(item), 100)}, which {fault}")
                    if (kind, item.name) in offered:
                        raise UserError(f"{origin.plugin}: {hook} offers two things of the name {item.name!r}")
                    offered[kind, item.name] = item
        if not offered:
            raise UserError(f"{origin.plugin} offers nothing: it has no hook such as ganbench_variants with @hookimpl")
        for (kind, name), item in offered.items():
            entry = Entry(item, origin, module, distribution)
            self.entries[kind].setdefault(name, []).append(entry)

    def note_broken(self, origin: Origin, reason: str) -> None:
        """Keep why a plugin cannot be used."""
        name = f"{origin.plugin} ({origin.distribution})" if origin.plugin in self.broken else origin.plugin
        self.broken[name] = reason

    def get(self, kind: Kind, name: str) -> Entry:
        """Return the one thing of that kind and name; an unknown name or two owners raise `UserError`."""
        if clash := self.clash(kind, name):
            raise UserError(clash)
        if not self.entries[kind].get(name):
            known = sorted(self.entries[kind])
            if name in self.broken:
                raise UserError(f"the plugin {name!r} is broken: {self.broken[name]}")
            if (file := file_of(name)) is not None:
                raise UserError(f"unknown {kind} {quoted(name)}, but {self._offered(kind, file)}")
            broken = f"; broken plugins: {', '.join(self.broken)}" if self.broken else ""
            hint = suggestion(name, known) or f"; there are {', '.join(known) or 'none'}{broken}"
            raise UserError(f"unknown {kind} {quoted(name)}{hint}")
        return self.entries[kind][name][0]

    def clash(self, kind: Kind, name: str) -> str | None:
        """Return who claims the same name of a kind where more than one does, else None."""
        owners = self.entries[kind].get(name, [])
        if len(owners) < 2:
            return None
        who = " and ".join(entry.owner for entry in owners)
        mend = "uninstall one of them"
        if any(entry.origin.distribution == FILE for entry in owners):
            mend = "give one of them another name, or leave out its --plugin"
        return f"{'two' if len(owners) == 2 else len(owners)} plugins claim the {kind} {name!r}: {who}; {mend}"

    def _offered(self, kind: Kind, file: Path) -> str:
        """Say what to do with a file that is called as one of its things would be."""
        place = os.path.realpath(file)
        every = [(of, e) for of, names in self.entries.items() for owners in names.values() for e in owners if e.path]
        loaded = [(of, entry.item.name) for of, entry in every if os.path.realpath(entry.path) == place]
        if not loaded:
            return f"there is a file {file}: add --plugin {file}"
        return f"{file} offers {', '.join(sorted(name for of, name in loaded if of == kind)) or f'no {kind}'}"

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
            raise UserError(f"no variant is of the family {quoted(family)}{hint}")
        if not set(pattern) & set("*?["):
            self.get(kind, pattern)
            return [pattern]
        names = sorted(name for name in self.entries[kind] if fnmatchcase(name, pattern))
        if not names:
            raise UserError(f"no {kind} matches {quoted(pattern)}; there are {', '.join(sorted(self.entries[kind]))}")
        return names


def discover(files: Sequence[Path] = (), only: Collection[tuple[str, str]] = (), begin: Begin = unwatched) -> Registry:
    """Load every installed plugin, and single files. A broken installed one is noted, a broken file raises.

    `only`: names and distributions of the plugins to load, where not all are wanted. None may change what others find:
    the environment, the current folder, PyTorch's defaults and more are put back after each. `begin`: told of each that
    is about to be imported.
    """
    registry = Registry()
    for point in sorted(entry_points(group="ganbench"), key=lambda point: (point.name, point.value)):
        origin = _origin_of(point)
        if only and (origin.plugin, origin.distribution) not in only:
            continue
        if reason := begin(_importing(origin.plugin, origin.distribution)):
            registry.note_broken(origin, reason)
            continue
        registry.loaded.add(str(origin))
        with unchanged():
            _load(point, origin, registry)
    for path in {os.path.realpath(path): path for path in files}.values():
        if reason := begin(_importing(str(path), FILE)):
            raise UserError(f"--plugin {path}: {reason}")
        with unchanged():
            module = load_file(path)
            origin = Origin(path.name, FILE, "", sha256_of(path))
            registry.loaded.add(str(origin))
            try:
                registry.add(module, origin, module)
            except BaseException as error:
                let_pass(error)
                raise UserError(f"--plugin {path}: {reason_of(error, loading_files(error))}") from error
    return registry


def _importing(plugin: str, distribution: str) -> Step:
    return Step(("plugin", plugin, distribution), "importing it", IMPORT_SECONDS)


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
        let_pass(error)
        registry.note_broken(origin, reason_of(error, loading_files(error)))


class _AsItStands(SourceFileLoader):
    """Compiles the file that a run's identity is the hash of: kept bytecode may be of one a second older."""

    def get_code(self, fullname: str) -> CodeType:
        """See `importlib.abc.InspectLoader`."""
        return self.source_to_code(self.get_data(self.path), self.path)


def load_file(path: Path) -> ModuleType:
    """Import a plugin that is one file, which may import modules that lie beside it.

    Raises `UserError` where it is missing or does not import, or gets the neighbour of another plugin for its own.
    """
    require_plugin(path)
    if (folder := str(path.absolute().parent)) not in sys.path:
        sys.path.append(folder)  # as last, so that it hides nobody's modules
    name = f"{FILE_MODULE}{path.stem}_{digest(os.path.realpath(path))[:8]}"  # two folders may hold files of one name
    loader = _AsItStands(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader) if loader is not None else None
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        let_pass(error)
        raise UserError(f"--plugin {path} does not load: {reason_of(error, loading_files(error))}") from error
    _require_neighbours(path, module)
    return module


def _require_neighbours(path: Path, module: ModuleType) -> None:
    others = _folders_of_files() - {path.absolute().parent.resolve()}
    for file in modules_of(module, None).values() if others else ():
        other = Path(getattr(sys.modules.get(file.stem), "__file__", None) or file)
        if other.name == file.name and other.parent.resolve() in others:
            raise UserError(
                f"--plugin {path} imports {file.stem!r}, which lies beside it, but gets {other}, which lies beside "
                f"another plugin: give one of the two another name"
            )


def _folders_of_files() -> set[Path]:
    """Return where the plugins lie that are files and have been loaded."""
    files = [str(module.__file__) for name, module in sys.modules.items() if name.startswith(FILE_MODULE)]
    return {Path(file).parent.resolve() for file in files}


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
