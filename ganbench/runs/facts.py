"""What a record says of its run beside the numbers: facts of the variant, and where everything came from."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from typing import Any

from ganbench.contract.types import CONTROL
from ganbench.contract.variant import Control, Variant
from ganbench.runs.describe import sections_of
from ganbench.runs.job import Job
from ganbench.runs.measures import plain_name
from ganbench.runs.options import as_plain, resolve
from ganbench.runs.registry import Kind, Registry
from ganbench.training.devices import cores, describe, resolve_device


def variant_facts(job: Job, registry: Registry) -> dict[str, Any]:
    """Return what a report shows of a variant, and the defaults of the options that the run has."""
    cls: type[Variant] = registry.get("variant", job.spec.variant).item
    return {
        "paper": cls.paper,
        "family": CONTROL if issubclass(cls, Control) else cls.family,
        "task": cls.task,
        "own_architecture": cls.own_architecture,
        "parameters": dict(job.parameters),
        **({"paper_images": cls.paper_images} if cls.paper_images else {}),
        "defaults": {kind: _defaults(kind, name, registry) for kind, name in _configured(job)},
        **({"equals": equals} if (equals := sections_of(cls).get("Equals")) else {}),
        "headline": list(job.metrics),
        **({"published": dict(job.published)} if job.published else {}),
    }


def job_names(job: Job) -> list[tuple[Kind, str]]:
    """Return kind and name of everything that a job takes from plugins."""
    used = [*_configured(job), *(("metric", name) for name in dict.fromkeys(map(plain_name, job.metrics)))]
    return [*used, *(("extractor", name) for name in job.extractors)]


def files_of(job: Job, registry: Registry) -> frozenset[str]:
    """Return the files of all plugins that a job takes something from."""
    return frozenset[str]().union(*(entry.files for entry in registry.needed_by(job_names(job))))


def _configured(job: Job) -> list[tuple[Kind, str]]:
    return [
        ("variant", job.spec.variant),
        ("backbone", job.spec.backbone),
        ("dataset", job.dataset.partition(":")[0]),
    ]


def _defaults(kind: Kind, name: str, registry: Registry) -> dict[str, Any]:
    item = registry.get(kind, name).item
    return as_plain(resolve(item if isinstance(item, type) else type(item), name, {}))


def provenance(job: Job, registry: Registry, threads: int) -> dict[str, Any]:
    """Return the origins of every plugin used, versions, machine, device, and the number of threads."""
    entries = {f"{kind}:{name}": registry.get(kind, name) for kind, name in job_names(job)}
    others = registry.loaded - {str(entry.origin) for entry in entries.values()}
    return {
        "plugins": {name: asdict(entry.origin) for name, entry in entries.items()},
        **({"also_loaded": sorted(others)} if others else {}),
        **versions_and_machine(job.device, job.devices),
        "threads": threads,
        "at_once": job.at_once,
    }


def versions_and_machine(device: str, devices: int = 1) -> dict[str, Any]:
    """Return the versions of what numbers depend on, and on what machine and device they are made."""
    versions = {name: _version_of(name) for name in ("ganbench", "torch", "torchvision", "numpy", "scipy")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": cores(),
            "device": several(describe(resolve_device(device)), devices),
        },
    }


SEVERAL = " × "
"""What stands in the name of several devices between how many they are and what."""


def several(device: str, devices: int) -> str:
    """Return the name of so many devices of a kind."""
    return f"{devices}{SEVERAL}{device}" if devices > 1 else device


def _version_of(name: str) -> str:
    """Return the version of what is loaded: something else may be installed, if only its metadata."""
    loaded, installed = str(import_module(name).__version__), version(name)
    return installed if installed.partition("+")[0] == loaded.partition("+")[0] else loaded
