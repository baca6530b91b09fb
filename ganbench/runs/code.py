"""What code a plugin runs: the hash of its syntax trees, which remarks and formatting leave as it is."""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution
from itertools import groupby
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from ganbench.contract.types import digest

HARNESS = "ganbench"
"""The distribution whose own changes are told by `ganbench.NUMBERS`; a plugin in it is its own module alone."""
_COVERED = frozenset({"ganbench", "ganbench_plugins", *sys.stdlib_module_names})
_IMPORTERS = frozenset({"import_module", "__import__"})
OF_SEVERAL = frozenset({"mean_over_ranks", "own_part", "whole_batch", "whole_size"})
"""What returns its argument on one device. How many a run is made on is no part of its identity, nor are these."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NO_TREE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What a file raises that is a template, or nested or numbered beyond all bounds."""


def code_of(module: ModuleType, distribution: Distribution | None) -> str:
    """Return the SHA-256 of what a plugin's module executes: itself and every other module of its distribution.

    Without a distribution (a single file) those beside it count which it imports, directly or not. Of each module the
    syntax tree counts, without docstrings, comments and formatting; of an extension module, every byte.
    """
    if not module.__file__:
        return ""
    own = Path(module.__file__)
    files = modules_of(module, distribution)
    trees = {name: tree_digest_of(path) for name, path in files.items() if path.resolve() != own.resolve()}
    return digest({"": tree_digest_of(own), **trees})


def modules_of(module: ModuleType, distribution: Distribution | None) -> dict[str, Path]:
    """Return the files of a plugin: its module's under no name, and by name the others that `code_of` counts."""
    if not module.__file__:
        return {}
    own = Path(module.__file__)
    alone = distribution is not None and distribution.name == HARNESS
    return {"": own} if alone else {"": own, **_others(module, own, distribution)}


def tree_digest_of(path: Path) -> str:
    """Return the hash of a source's syntax tree, the same for every version of Python; else of the file's bytes."""
    if path.suffix == ".py":
        try:
            return sha256("".join(_outline(_parsed(path))).encode()).hexdigest()
        except _NO_TREE:
            pass
    return sha256(path.read_bytes()).hexdigest()


def _tree(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except SystemError:  # of CPython before 3.11.8, now and then, of a source in which nothing is wrong
        return ast.parse(source)


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where warnings are errors, an invalid escape would be no syntax
        return _tree(path.read_bytes())


def _outline(tree: ast.Module) -> Iterator[str]:
    """Yield a syntax tree as JSON, bit by bit; no recursion, which ends at another depth in each version of Python."""
    left: list[Any] = [tree]
    idle = _idle_names(tree)
    while left:
        node = _on_one_device(left.pop(), idle)
        if isinstance(node, str):
            yield node
        else:
            yield "["
            left += ["]", *[item for part in reversed(_parts(node)) for item in (part, ",")][:-1]]


def _idle_names(tree: ast.Module) -> frozenset[str]:
    """Return by which of its names a module knows functions of `OF_SEVERAL`, and nothing else."""
    known, bound = set[str](), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == HARNESS and not node.level:
            known |= {alias.name for alias in node.names if alias.asname is None and alias.name in OF_SEVERAL}
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.append(node.name)
        elif isinstance(node, ast.arg):
            bound.append(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.append(node.id)
    return frozenset(name for name in known if bound.count(name) == 1)


def _on_one_device(node: Any, idle: frozenset[str]) -> Any:
    """Return a node of a tree without what does nothing on one device."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in idle:
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            return node
        node = node.args[0]
    if isinstance(node, ast.ImportFrom) and node.module == HARNESS and not node.level:
        kept = [alias for alias in node.names if alias.name not in idle]
        return ast.ImportFrom(node.module, kept, node.level)
    if isinstance(node, ast.ClassDef):
        node = copy.copy(node)
        node.body = [part for part in node.body if not _is_of_devices(part)]
    return node


def _is_of_devices(statement: ast.stmt) -> bool:
    """Whether a statement of a class says why it is for one device, and does nothing else."""
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return False
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return names == ["one_device"] and len(targets) == 1 and isinstance(value, ast.Constant)


def _parts(node: Any) -> Sequence[Any]:
    """Return what a syntax tree consists of; the empty is left out, because versions of Python differ in saying so."""
    if isinstance(node, ast.Constant):
        return f'"{type(node.value).__name__}"', _leaf(node.value)
    if isinstance(node, ast.JoinedStr):
        return '"JoinedStr"', *_pieces(node.values)
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields if name != "ctx")
        named = [(f'"{name}"', _leaf(value)) for name, value in fields if value is not None and value != []]
        return f'"{type(node).__name__}"', *named
    if isinstance(node, list):
        return [_leaf(item) for item in node if not _is_idle(item)]
    return node  # a field: its name and value


def _leaf(value: Any) -> Any:
    """Return a constant or name as JSON. What is not ASCII stays: what `repr` escapes, each version's Unicode says."""
    if isinstance(value, ast.AST | list):
        return value
    if not isinstance(value, str) or value.isascii():
        return json.dumps(repr(value))
    others = iter(_NOT_ASCII.findall(value))
    return json.dumps(re.sub("×", lambda _: next(others), repr(_NOT_ASCII.sub("×", value))))


def _is_idle(statement: Any) -> bool:
    """Whether a statement does nothing: `pass`, a docstring, a remark that is a bare text."""
    bare = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return bare or isinstance(statement, ast.Pass)


def _pieces(values: Sequence[ast.expr]) -> Iterator[ast.expr]:
    """Yield the pieces of an f-string, texts side by side as one, since versions of Python part them otherwise."""
    for is_text, pieces in groupby(values, lambda value: isinstance(value, ast.Constant)):
        if not is_text:
            yield from pieces
        elif text := "".join(piece.value for piece in pieces):  # type: ignore[attr-defined]
            yield ast.Constant(text)


def _others(module: ModuleType, own: Path, distribution: Distribution | None) -> dict[str, Path]:
    """Return the modules that belong to a plugin, by name as seen from the folder that they are imported from."""
    listed = _listed(distribution)
    if own.resolve() in {path.resolve() for path in listed.values()}:
        return listed
    # A single file, or a distribution that is installed to be edited, whose modules nobody lists.
    first, *rest = module.__name__.split(".")
    root, found, names = own.parents[len(rest)], {}, set[str]()
    if (package := _outermost_package(module.__name__, own)) is not None:
        name, folder = package
        root, found = folder.parents[name.count(".")], _sources(folder, name.replace(".", "/"))
    elif rest:
        names.add(first)
    if distribution is not None:
        names.update((distribution.read_text("top_level.txt") or "").split())
    roots = [root]
    while (roots[-1] / "__init__.py").is_file():  # a single file in a package may import by the name of that
        roots.append(roots[-1].parent)
    return found | _imported(found.values() or [own], names, roots)


def _outermost_package(module: str, own: Path) -> tuple[str, Path] | None:
    """Return the package that holds all of a plugin, by name and folder, no namespace that others have a part in."""
    parts = module.split(".")
    for name in (".".join(parts[:number]) for number in range(1, len(parts) + 1)):
        package = sys.modules.get(name)
        for folder in getattr(package, "__path__", []) if getattr(package, "__file__", None) else []:
            if own.is_relative_to(folder):
                return name, Path(folder)
    return None


def _listed(distribution: Distribution | None) -> dict[str, Path]:
    """Return the modules that a distribution lists as installed; what only lists sources is as old as its build."""
    if distribution is None or distribution.read_text("RECORD") is None:
        return {}
    paths = {file.as_posix(): Path(str(file.locate())) for file in distribution.files or [] if _is_module(file)}
    return {name: path for name, path in paths.items() if path.is_file()}


def _imported(sources: Iterable[Path], names: Iterable[str], roots: Sequence[Path]) -> dict[str, Path]:
    """Return the modules below `roots` that have names or that sources import, and those that these import in turn."""
    found: dict[str, Path] = {}
    done, fresh = set(_COVERED), set(names).union(*map(_imports, sources))
    while fresh := fresh - done:
        done |= fresh
        beside = {key: path for name in sorted(fresh) for key, path in _neighbours(name, roots).items()}
        found |= beside
        fresh = set[str]().union(*map(_imports, beside.values()))
    return found


def _neighbours(name: str, roots: Sequence[Path]) -> dict[str, Path]:
    """Return what `import name` gets below the first of some folders that has it: a whole package, or one module."""
    for root in roots:
        single = [file for end in (*EXTENSION_SUFFIXES, ".py") if (file := root / f"{name}{end}").is_file()]
        if single and not (root / name / "__init__.py").is_file():
            return {single[0].name: single[0]}
        if package := _sources(root / name, name):
            return package
    return {}


def _imports(path: Path) -> set[str]:
    """Return the first part of every name that a source imports."""
    try:
        tree = _parsed(path)
    except _NO_TREE:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in _IMPORTERS:
            values = [*node.args[:1], *[keyword.value for keyword in node.keywords if keyword.arg == "name"]]
            names |= {str(value.value) for value in values if isinstance(value, ast.Constant)}
    return {first for name in names if (first := name.partition(".")[0]).isidentifier()}  # no ".relative", no path


def _sources(folder: Path, name: str) -> dict[str, Path]:
    """Return the modules in a folder, by name from where it is called `name`; what is hidden no import finds."""
    paths = [path for path in folder.rglob("*") if _is_module(path) and path.is_file()]
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {f"{name}/{below}": path for below, path in named.items() if "/." not in f"/{below}"}


def _is_module(path: PurePath) -> bool:
    return path.suffix == ".py" or path.name.endswith(tuple(EXTENSION_SUFFIXES))
