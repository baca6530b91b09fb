"""The hooks that a plugin implements, each a function that takes nothing and returns a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ganbench.contract.backbone import Backbone
    from ganbench.contract.data import Dataset
    from ganbench.contract.executors import Executor
    from ganbench.contract.experiments import Experiment
    from ganbench.contract.metrics import Extractor, Metric
    from ganbench.contract.observers import Observer
    from ganbench.contract.preset import Preset
    from ganbench.contract.variant import Variant

hookspec = pluggy.HookspecMarker("ganbench")
hookimpl = pluggy.HookimplMarker("ganbench")


@hookspec
def ganbench_variants() -> Iterable[type[Variant]]:
    """Return GAN variants."""
    return []


@hookspec
def ganbench_datasets() -> Iterable[Dataset]:
    """Return data sets. Loading happens later, in `Dataset.load`."""
    return []


@hookspec
def ganbench_backbones() -> Iterable[Backbone]:
    """Return architecture families."""
    return []


@hookspec
def ganbench_metrics() -> Iterable[Metric]:
    """Return metrics."""
    return []


@hookspec
def ganbench_presets() -> Iterable[Preset]:
    """Return presets: comparisons of the literature with their protocols and published numbers."""
    return []


@hookspec
def ganbench_extractors() -> Iterable[Extractor]:
    """Return feature extractors that metrics name."""
    return []


@hookspec
def ganbench_observers() -> Iterable[Observer]:
    """Return observers: what hears of runs while they are made, such as a tracker of experiments."""
    return []


@hookspec
def ganbench_experiments() -> Iterable[Experiment]:
    """Return experiments: small studies that ask the harness for runs and say what they found."""
    return []


@hookspec
def ganbench_executors() -> Iterable[Executor]:
    """Return executors: where the runs of a command are made, such as the nodes of a cluster."""
    return []
