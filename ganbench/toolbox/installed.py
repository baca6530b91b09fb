"""What a machine has installed of all that numbers hang on: versions, and hashes of code. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, PackageNotFoundError, entry_points
from importlib.util import find_spec
from pathlib import Path

from ganbench.contract.types import digest
from ganbench.files import sha256_of

LIBRARIES = ("torch", "torchvision", "numpy", "scipy")


def installed(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, of what ganbench computes with, and of distributions of plugins, by name.

    Those of distributions go with a hash of all modules that this process would import: `0.2.0 (code 1a2b3c4d5e6f)`.
    What is not installed is left out. No plugin is imported. Machines of which this is the same give the same numbers,
    as far as their devices do; `torch 2.14.1+cpu` and `+cu128` count as the same.
    """
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    found |= {name: version.partition("+")[0] for name in LIBRARIES if (version := _version_of(name))}
    return found | {name: text for name in sorted(distributions) if (text := _with_code(name))}


def told_apart(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Say what another machine has installed that this one has not so: `has torch 2.13.0, this machine 2.14.1`."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    told = [f"has {_told(name, there)}, this machine {here.get(name, 'none')}" for name in names]
    return "; ".join(told)


def _told(name: str, found: Mapping[str, str]) -> str:
    return f"{name} {found[name]}" if name in found else f"no {name}"


def _version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return ""


@cache  # code that changes while it is imported is not what this process executes
def _with_code(name: str) -> str:
    try:
        distribution = importlib.metadata.distribution(name)
    except PackageNotFoundError:
        return ""
    modules = {module: sha256_of(path) for module, path in _modules(distribution)}
    return f"{distribution.version} (code {digest(modules)[:12]})"


def _modules(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the modules of a distribution by name, from where an import finds them."""
    points = [point for point in entry_points(group="ganbench") if point.dist and point.dist.name == distribution.name]
    tops = {point.module.partition(".")[0] for point in points}
    tops.update((distribution.read_text("top_level.txt") or "").split(), [distribution.name] * (not tops))
    for top in sorted(tops):
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            continue
        if spec is None:
            continue
        if spec.origin is None:  # a namespace that other distributions have a part in
            listed = [file for file in distribution.files or [] if file.parts[0] == top and _is_module(Path(file))]
            yield from ((file.as_posix(), path) for file in listed if (path := Path(str(file.locate()))).is_file())
        elif spec.submodule_search_locations:
            folder = Path(spec.origin).parent
            found = (path for path in sorted(folder.rglob("*")) if _is_module(path) and path.is_file())
            yield from ((f"{top}/{path.relative_to(folder).as_posix()}", path) for path in found)
        else:
            yield top, Path(spec.origin)


def _is_module(path: Path) -> bool:
    return path.suffix == ".py" or path.name.endswith(tuple(EXTENSION_SUFFIXES))
