"""Metrics on fixed inputs that travel with the package, against the numbers that they gave when these were stored.

A metric that is new needs nothing here: `python benchmarks/selftest.py` computes whatever fits an input and stores it
in `selftest.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganbench.contract.data import ImageSet
from ganbench.errors import PluginError, UserError, brief
from ganbench.runs.compare import choose, compare, spec_of, unfit
from ganbench.runs.registry import Registry
from ganbench.runs.sides import Side
from ganbench.runs.steps import Begin, Step
from ganbench.scoring.evaluate import extractor_of
from ganbench.training.switches import kept

STORED = Path(__file__).with_name("selftest.json")
TOLERANCE = 1e-3
"""Relative: rounding of another machine or library makes 1e-5, a wrong formula or file far more."""
SAMPLES = 64
POINTS = 500
STRETCH = 1.02
"""By so much points are moved away from the origin, so that not all are of high quality."""


@dataclass(frozen=True)
class Outcome:
    """One value of one metric on one input. `expected`: None where nothing is stored; `fault`: why it is wrong."""

    input: str
    metric: str
    value: float | None = None
    expected: float | None = None
    note: str = ""
    fault: str = ""


def digits(registry: Registry, root: Path) -> tuple[Side, Side]:
    """Return training and test images of scikit-learn's digits, with labels."""
    return _sides("digits", registry, root, SAMPLES, 1.0)


def ring(registry: Registry, root: Path) -> tuple[Side, Side]:
    """Return points of the ring, stretched, and others as they are."""
    return _sides("ring", registry, root, POINTS, STRETCH)


def _sides(name: str, registry: Registry, root: Path, n: int, factor: float) -> tuple[Side, Side]:
    dataset = registry.get("dataset", name).item
    with kept():
        data = dataset.load(root, dataset.size)

    def side(split: ImageSet, scale: float) -> Side:
        images = split.images[:n] if scale == 1 else split.images[:n] * scale
        cond = None if split.cond is None else split.cond[:n]
        # Of no split, so that its features are computed and not found in the cache.
        return Side(name, ImageSet(images, cond), data.fingerprint, {}, data, name, split="")

    return side(data.train, factor), side(data.test, 1.0)


INPUTS: Mapping[str, Callable[[Registry, Path], tuple[Side, Side]]] = {"digits": digits, "ring": ring}


def test_metrics(
    registry: Registry, *, root: Path, weights: Path | None, device: torch.device, begin: Begin
) -> Iterator[Outcome]:
    """Compute every metric on every input that it fits, and compare what comes out with what is stored."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    for name, make in INPUTS.items():
        try:
            fake, real = make(registry, root)
        except UserError as error:
            yield Outcome(name, "", fault=str(error))
            continue
        expected: Mapping[str, float] = stored.get(name, {})
        for metric_name in sorted(registry.entries["metric"]):
            metric = registry.entries["metric"][metric_name][0].item
            modes = None if real.data is None else real.data.modes
            if unfit(metric, spec_of(fake, real), modes):
                continue
            if reason := begin(Step(("metric", metric_name, name), f"testing {metric_name} on {name}", 300.0)):
                yield Outcome(name, metric_name, fault=reason)
                continue
            if reason := _missing(extractor_of(metric, modes), real, registry, weights):
                yield Outcome(name, metric_name, expected=expected.get(metric_name), note=reason)
                continue
            arguments: dict[str, Any] = {"device": device, "weights": weights, "begin": lambda step: ""}
            try:
                values = compare(fake, real, choose([metric_name], registry), registry, **arguments)
            except Exception as error:  # a plugin may fail in any way
                yield _unmeasured(name, metric_name, error, expected.get(metric_name))
                continue
            for key, value in values.items():
                yield judged(name, key, value.value, expected.get(key))


def _missing(extractor: str | None, real: Side, registry: Registry, weights: Path | None) -> str:
    """Return why a metric cannot see the features that it needs, or nothing."""
    if extractor is None:
        return ""
    if extractor not in registry.entries["extractor"]:
        return f"there is no extractor {extractor!r}"
    assert real.data is not None
    missing = registry.get("extractor", extractor).item.missing(real.dataset, real.data, weights)
    return f"what the extractor {extractor!r} needs is not at hand" if missing else ""


def judged(name: str, key: str, value: float, expected: float | None) -> Outcome:
    """Compare a value with what is stored."""
    if expected is None:
        return Outcome(name, key, value, note="nothing is stored to compare it with")
    wrong = abs(value - expected) > TOLERANCE * max(abs(expected), 1e-3)
    fault = f"{key} on {name} came out as {value:.6g}, but {expected:.6g} is right" if wrong else ""
    return Outcome(name, key, value, expected, fault=fault)


def _unmeasured(name: str, key: str, error: Exception, expected: float | None) -> Outcome:
    """Tell why a metric has no value: a fault unless it never had one here, and says why in a sentence."""
    reason = brief(str(error) or type(error).__name__, 300)
    if expected is None and isinstance(error, UserError) and not isinstance(error, PluginError):
        return Outcome(name, key, note=reason)
    return Outcome(name, key, expected=expected, fault=f"{key} on {name} has no value: {reason}")
