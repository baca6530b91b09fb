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
    """Count the samples of high quality of each mode."""
    index, good = _known(scene).assign(scene.fake.images)
    return torch.bincount(index[good].cpu(), minlength=_known(scene).count)


def _protocol(scene: Scene, counted: str) -> Mapping[str, Any]:
    return {**_known(scene).protocol, "counted": counted}


def modes(scene: Scene) -> Mapping[str, Value]:
    """Count the modes with at least one sample of high quality (Srivastava et al. 2017)."""
    found = int((_histogram(scene) > 0).sum())
    return {"modes": Value(float(found), _protocol(scene, "modes with at least 1 sample of high quality"))}


def high_quality(scene: Scene) -> Mapping[str, Value]:
    """Share of samples of high quality, in [0, 1]."""
    share = int(_histogram(scene).sum()) / len(scene.fake.images)
    return {"high-quality": Value(share, _protocol(scene, "samples of high quality, as a share of all"))}


def mode_kl(scene: Scene) -> Mapping[str, Value]:
    """KL divergence, in nats, from the uniform distribution of the histogram over modes (Lin et al. 2018).

    Only samples of high quality are in the histogram. Raises `UserError` where there is none.
    """
    histogram = _histogram(scene).double()
    if not histogram.sum():
        raise UserError(f"no sample of high quality among {len(scene.fake.images)}: mode-kl is not defined")
    share = histogram / histogram.sum()
    divergence = math.log(len(share)) + float(torch.xlogy(share, share).sum())
    rule = "KL(samples of high quality over modes || uniform), natural logarithm"
    return {"mode-kl": Value(max(divergence, 0.0), _protocol(scene, rule))}  # rounding may leave -1e-16


def _metric(name: str, compute: Callable[[Scene], Mapping[str, Value]], higher_is_better: bool, summary: str) -> Metric:
    return Metric(name, compute, summary, higher_is_better=higher_is_better, needs=frozenset({"modes"}))


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        _metric("modes", modes, True, "true modes with at least one sample of high quality"),
        _metric("high-quality", high_quality, True, "share of samples close to a true mode"),
        _metric("mode-kl", mode_kl, False, "unevenness over the true modes: KL to uniform, in nats"),
    ]
