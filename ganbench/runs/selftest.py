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

from ganbench.contract.data import ImageSet, Splits
from ganbench.errors import PluginError, UserError, brief
from ganbench.runs.compare import choose, compare, spec_of, unfit
from ganbench.runs.registry import Registry
from ganbench.runs.sides import Side
from ganbench.runs.steps import Begin, Step, unwatched
from ganbench.scoring.evaluate import extractor_of
from ganbench.training.switches import kept

STORED = Path(__file__).with_name("selftest.json")
TOLERANCE = 1e-3
"""Relative: rounding of another machine or library makes 1e-5, a wrong formula or file far more."""
TEST_SECONDS = 300.0
"""How long one metric may take."""
WITHOUT_WEIGHTS = "pixels"
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
    """Return scikit-learn's digits, with labels: half training images and half unseen ones, against test images."""
    dataset, data = _loaded("digits", registry, root)
    train, test, half = data.train, data.test, SAMPLES // 2
    assert train.cond is not None and test.cond is not None
    rows = slice(SAMPLES, SAMPLES + half)
    mixed = ImageSet(
        torch.cat([train.images[:half], test.images[rows]]), torch.cat([train.cond[:half], test.cond[rows]])
    )
    return _side(dataset, data, mixed), _side(dataset, data, ImageSet(test.images[:SAMPLES], test.cond[:SAMPLES]))


def ring(registry: Registry, root: Path) -> tuple[Side, Side]:
    """Return points of the ring, stretched, and others as they are."""
    dataset, data = _loaded("ring", registry, root)
    stretched = ImageSet(data.train.images[:POINTS] * STRETCH)
    return _side(dataset, data, stretched), _side(dataset, data, ImageSet(data.test.images[:POINTS]))


def _loaded(name: str, registry: Registry, root: Path) -> tuple[str, Splits]:
    dataset = registry.get("dataset", name).item
    with kept():
        return name, dataset.load(root, dataset.size)


def _side(name: str, data: Splits, samples: ImageSet) -> Side:
    # Of no split, so that its features are computed and not found in the cache.
    return Side(name, samples, data.fingerprint, {}, data, name, split="")


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
        for asked in _asked(registry):
            each = choose([asked], registry)[0].metric
            modes = None if real.data is None else real.data.modes
            if unfit(each, spec_of(fake, real), modes):
                continue
            if reason := begin(Step(("metric", asked, name), f"testing {asked} on {name}", TEST_SECONDS)):
                yield Outcome(name, asked, fault=reason)
                continue
            if reason := _missing(extractor_of(each, modes), real, registry, weights):
                yield Outcome(name, asked, expected=expected.get(asked), note=reason)
                continue
            arguments: dict[str, Any] = {"device": device, "weights": weights, "begin": unwatched}
            try:
                values = compare(fake, real, choose([asked], registry), registry, **arguments)
            except Exception as error:  # a plugin may fail in any way
                yield _unmeasured(name, asked, error, expected.get(asked))
                continue
            for key, value in values.items():
                yield judged(name, key, value.value, expected.get(key))


def _asked(registry: Registry) -> Iterator[str]:
    """Yield the names of all metrics; of those that take any extractor also with one that needs no weights."""
    for name, owners in sorted(registry.entries["metric"].items()):
        if len(owners) == 1:  # a clash is told elsewhere
            yield name
            if owners[0].item.any_extractor and owners[0].item.extractor != WITHOUT_WEIGHTS:
                yield f"{name}@{WITHOUT_WEIGHTS}"


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
