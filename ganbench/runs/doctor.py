"""What is installed and found on this machine, and whether it gives the numbers that it should."""

from __future__ import annotations

import importlib
import platform
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, NoReturn

import torch
from packaging.requirements import InvalidRequirement, Requirement

from ganbench.contract.data import Splits
from ganbench.errors import UserError, brief, named
from ganbench.runs.registry import HOOKS, Registry, discover
from ganbench.runs.selftest import digits, test_metrics
from ganbench.runs.steps import BUILD_SECONDS, Begin, Step
from ganbench.toolbox.sources import digest_of
from ganbench.training.devices import cores, describe, make_repeatable, resolve_device

SHOWN = ("torch", "torchvision", "numpy", "scipy", "torch-fidelity")
"""Packages whose versions numbers depend on."""
WEIGHT_SUFFIXES = (".pth", ".pt", ".npz", ".safetensors", ".bin")
WRONG = 1e-5
"""Relative error from which a device multiplies matrices wrongly, or not in float32."""


@dataclass
class Examined:
    """What was found, and what is wrong, a sentence each. `tests`: outcomes of the self-test."""

    versions: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    extractors: dict[str, str] = field(default_factory=dict)
    weights: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def examine(
    plugins: Sequence[Path], root: Path, weights: Path | None, device: str, quick: bool, begin: Begin
) -> Examined:
    """Look at everything, and unless it is to be `quick` compute every metric. Nothing is downloaded."""
    urllib.request.urlopen = _downloads_nothing
    found = Examined()
    begin(Step((), "looking at versions"))
    found.versions = versions()
    found.problems += [*unmet("ganbench"), *pair_faults()]
    chosen = resolve_device(device)
    make_repeatable(chosen, cores())
    begin(Step((), f"trying {chosen}"))
    found.devices, faults = _devices(chosen)
    found.problems += faults
    begin(Step((), "looking for plugins"))
    registry = discover(plugins, begin=begin)
    found.problems += [f"the plugin {name} is broken: {why}" for name, why in registry.broken.items()]
    found.problems += [why for kind in HOOKS for name in registry.entries[kind] if (why := registry.clash(kind, name))]
    found.data = data_found(registry, root)
    found.weights = list(weight_files(weights))
    try:
        sample = digits(registry, root)[1].data
        assert sample is not None
        found.extractors = _extractors(registry, sample, weights, begin)
    except UserError as error:
        found.problems.append(f"the data set 'digits' cannot be loaded: {error}")
    if not quick:
        outcomes = test_metrics(registry, root=root, weights=weights, device=chosen, begin=begin)
        for outcome in outcomes:
            found.tests.append(asdict(outcome))
            found.problems += [outcome.fault] if outcome.fault else []
    return found


def _downloads_nothing(*arguments: Any, **options: Any) -> NoReturn:
    raise OSError("ganbench doctor downloads nothing")


def versions() -> dict[str, str]:
    """Return the versions of Python, ganbench and what its numbers depend on."""
    found = {"python": platform.python_version(), "ganbench": version("ganbench")}
    for name in SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def unmet(name: str) -> list[str]:
    """Say which requirements of an installed distribution are not met."""
    problems = []
    for text in distribution(name).requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{name} needs {requirement.name}, which is not installed: pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            problems.append(f"{name} needs {requirement}, but {installed} is installed: pip install '{requirement}'")
    return problems


def pair_faults() -> list[str]:
    """Say whether torchvision does not fit torch: by what it requires, and by one of its compiled operations."""
    try:
        if faults := unmet("torchvision"):
            return faults
        ops = importlib.import_module("torchvision").ops
        kept = ops.nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1]]), torch.tensor([0.5, 0.9]), 0.5)
        return [] if kept.tolist() == [1] else ["torchvision.ops.nms keeps the wrong box: install torchvision again"]
    except PackageNotFoundError:
        return []  # said of ganbench already
    except Exception as error:  # a pair that does not fit fails in many ways
        pair = f"torchvision {version('torchvision')} does not work with torch {version('torch')}"
        return [f"{pair} ({brief(named(error))}): install both from one index"]


def _devices(chosen: torch.device) -> tuple[list[str], list[str]]:
    found = [describe(torch.device("cpu"))]
    found += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return found, device_faults(chosen)


def device_faults(device: torch.device) -> list[str]:
    """Say whether a device multiplies matrices as float32 should."""
    try:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
        exact = a.double() @ b.double()
        found = (a.to(device) @ b.to(device)).cpu().double()
        error = float((found - exact).norm() / exact.norm())
    except (RuntimeError, NotImplementedError) as reason:
        return [f"the device {device} does not work: {brief(str(reason))}"]
    return [] if error < WRONG else [f"the device {device} multiplies matrices with a relative error of {error:.1e}"]


def data_found(registry: Registry, root: Path) -> dict[str, str]:
    """Say by name of each data set where it lies; whether it is whole is seen when it is loaded."""
    found = {}
    for name, (entry, *_) in sorted(registry.entries["dataset"].items()):
        places = [root / place for place in entry.item.places]
        there = [place for place in places if place.exists()]
        if places:
            found[name] = str(there[0]) if there else f"not found: {' or '.join(map(str, places))}"
        elif getattr(type(entry.item), "of", None) is not _plain_of():
            found[name] = f"needs an argument: {entry.item.summary.partition(',')[0]}"
        else:
            found[name] = "comes with its plugin"
    return found


def _plain_of() -> Any:
    from ganbench.contract.data import Dataset

    return Dataset.of


def weight_files(folder: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the files that may be weights, in the folder that was named and where PyTorch keeps its own."""
    for place in dict.fromkeys(filter(None, (folder, Path(torch.hub.get_dir()) / "checkpoints"))):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix.lower() in WEIGHT_SUFFIXES and path.is_file():
                yield {"path": str(path), "bytes": path.stat().st_size, "sha256": digest_of(path)}


def _extractors(registry: Registry, data: Splits, weights: Path | None, begin: Begin) -> dict[str, str]:
    """Say of each extractor whether what it needs is at hand."""
    found = {}
    for name, (entry, *_) in sorted(registry.entries["extractor"].items()):
        if reason := begin(Step(("extractor", name, "doctor"), "looking for what it needs", BUILD_SECONDS)):
            found[name] = reason
            continue
        try:
            found[name] = entry.item.missing("digits", data, weights) or "ready"
        except Exception as error:  # a plugin may fail in any way
            found[name] = f"fails: {brief(named(error))}"
    return found
