"""Modes found, samples of high quality, and evenness over the modes, where the true modes are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ganbench import Metric, Modes, Scene, UserError, Value, hookimpl


def _known(scene: Scene) -> Modes:
    assert scene.modes is not None
    return scene.modes


def _histogram(scene: Scene) -> Tensor:
    """Count the samples of each mode; those of high quality where that shows, else all."""
    known, fake = _known(scene), scene.fake
    samples = fake.images if known.extractor is None else fake.probs
    assert samples is not None
    index, good = known.assign(samples)
    return torch.bincount(index[good].cpu(), minlength=known.count)


def _protocol(scene: Scene, name: str, counted: str) -> Mapping[str, Any]:
    known = _known(scene)
    floors = known.floors(len(scene.fake.images))
    return {**known.protocol, "counted": counted, **({"floors": floors[name]} if name in floors else {})}


def _samples(scene: Scene) -> str:
    return "" if _known(scene).extractor else " of high quality"


def modes(scene: Scene) -> Mapping[str, Value]:
    """Count the modes with at least one sample (Srivastava et al. 2017), where it shows of high quality.

    Where a classifier tells the modes, its errors credit a few samples to modes that are not there: `modes-5` counts
    those with at least 5 samples.
    """
    histogram = _histogram(scene)
    found = {"modes": 1} | ({"modes-5": 5} if _known(scene).extractor else {})
    values = {}
    for name, least in found.items():
        rule = f"modes with at least {least} sample{'s' if least > 1 else ''}{_samples(scene)}"
        count = float((histogram >= least).sum())
        values[name] = Value(count, _protocol(scene, name, rule), higher_is_better=True, worst=0)
    return values


def high_quality(scene: Scene) -> Mapping[str, Value]:
    """Share of samples of high quality, in [0, 1]."""
    share = int(_histogram(scene).sum()) / len(scene.fake.images)
    rule = "samples of high quality, as a share of all"
    return {"high-quality": Value(share, _protocol(scene, "high-quality", rule))}


def mode_kl(scene: Scene) -> Mapping[str, Value]:
    """KL divergence, in nats, from the uniform distribution of the histogram over modes (Lin et al. 2018).

    The histogram is that of `modes`; an empty mode contributes 0. Worst is the logarithm of the number of modes: all
    samples in one. Raises `UserError` where all are empty.
    """
    histogram = _histogram(scene).double()
    if not histogram.sum():
        raise UserError(f"no sample of high quality among {len(scene.fake.images)}: mode-kl is not defined")
    share = histogram / histogram.sum()
    divergence = math.log(len(share)) + float(torch.xlogy(share, share).sum())
    rule = f"KL(samples{_samples(scene)} over modes || uniform), natural logarithm"
    value = max(divergence, 0.0)  # rounding may leave -1e-16
    return {"mode-kl": Value(value, _protocol(scene, "mode-kl", rule), worst=math.log(len(share)))}


def _metric(
    name: str, compute: Callable[[Scene], Mapping[str, Value]], summary: str, *needs: str, **said: Any
) -> Metric:
    return Metric(name, compute, summary, needs=frozenset({"modes", *needs}), **said)


@hookimpl
def ganbench_metrics() -> list[Metric]:
    # Samples that shrink towards their modes, or are spread more evenly than chance spreads them, are no better.
    quality: dict[str, Any] = {"higher_is_better": True, "near_reference": True, "worst": 0}
    uneven: dict[str, Any] = {"higher_is_better": False, "near_reference": True}
    return [
        _metric("modes", modes, "true modes with at least one sample", higher_is_better=True, worst=0),
        _metric("high-quality", high_quality, "share of samples close to a true mode", "points", **quality),
        _metric("mode-kl", mode_kl, "unevenness over the true modes: KL to uniform, in nats", **uneven),
    ]
