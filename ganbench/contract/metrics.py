"""Metrics and feature extractors: the nouns of scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.data import Modes, Splits
from ganbench.contract.types import Curve, DataSpec, Value
from ganbench.contract.variant import Variant


class Features(NamedTuple):
    """What metrics see of a set of samples.

    `images`: uint8 `[N, C, H, W]` or float32 points `[N, 2]`. `embedding`: `[N, d]`, `probs`: `[N, classes]`, where the
    metric names an extractor. `labels`: int64 `[N]`, of real images their own, of conditional samples those asked for.
    """

    images: Tensor
    embedding: Tensor | None = None
    probs: Tensor | None = None
    labels: Tensor | None = None


class Embedding(Protocol):
    """An extractor made ready. `protocol` names its weights by hash, its resize and its number format."""

    protocol: Mapping[str, Any]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map uint8 images on any device to an embedding `[N, d]` and class probabilities, or None."""


class Extractor(ABC):
    """A feature extractor that metrics name; `prepare` trains or loads it and returns it ready."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""

    @abstractmethod
    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        """Make it ready for one data set. Raises `UserError` in one sentence where its weights are not to be had."""

    def width(self, data: Splits) -> int | None:
        """Return how many features an image has, or None where only `prepare` can tell."""
        return None

    def missing(self, dataset: str, data: Splits, weights: Path | None) -> str | None:
        """Return why `prepare` would fail, or None: asked before anything is trained, so it trains nothing itself.

        What can be downloaded may be, since the run would do so. None as well where only `prepare` can tell.
        """
        return None


Probe = Callable[[int], Mapping[str, Curve]]


class Past(NamedTuple):
    """A mark of the run that has been scored: the share of the budget spent, updates by player, and numbers by name."""

    share: float
    updates: Mapping[str, int]
    values: Mapping[str, float]


@dataclass(frozen=True)
class Scene:
    """Everything a metric may look at, made by one pass of sampling and extraction.

    `fake`: generated samples. `real`: the reference. `traces`: one array a name over the whole run so far, such as
    `grad_norm/G` (every update of the player G). `conditional`: samples were asked for by label.
    `seed`: for a metric that draws at random. `probe`: trains fresh discriminators against the fixed generator for so
    many updates, and returns the curves of the gradient under `log(1-D)`, `-log D` and, if it has one, its `own` loss.
    `training`: yields what the run was served in pieces, all training images with their features and labels; of a
    control, and of real images in its place, without those that stand for images nobody has seen.
    `options`: the metric's own, an object of the class of its `config`. `generator`: makes a copy of the trained
    variant, in evaluation mode, to sample from (`sample`, `noise`); `fresh`: of the same before its first step, in
    training mode; both None but for metrics that need "generator". `past`: the marks scored before, and at the end this
    one with what has been measured so far; filled for metrics that need "past", which come last.
    `memo`: kept by all metrics that see these samples through one extractor, for what several of them compute alike.
    """

    data: DataSpec
    fake: Features
    real: Features
    traces: Mapping[str, np.ndarray]
    modes: Modes | None = None
    conditional: bool = False
    seed: int = 0
    probe: Probe | None = None
    training: Callable[[], Iterator[Features]] | None = None
    options: Any = None
    generator: Callable[[], Variant] | None = None
    fresh: Callable[[], Variant] | None = None
    past: Sequence[Past] = ()
    memo: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A named measure of a run.

    `compute` maps a scene to values by name, its own name first among them; the protocol that it puts into a value says
    what only it knows, the harness adds the rest. `extractor`: whose features it sees unless it is asked for with
    another, as in `precision@classifier`; `any_extractor`: whether it can be. A scene's values have the plain name.
    `needs`: what the data must be or have ("images", "points", "labels", "modes", "pairs"), and what the scene is to
    offer ("generator", "past"). `samples` is False for a metric that reads traces alone. `last_mark_only`: too dear for
    every mark. `config`: a frozen dataclass of options with their defaults, for `--set NAME.field=value`; `owner`: the
    name that options go by where several metrics share them. `near_reference`: best is what real data score, so that
    nobody is rewarded for beating them. `worst`: what a run counts as that has no value, None where there is no end.
    `covariance`: it estimates one of the features, for which there should be more samples than features.
    """

    name: str
    compute: Callable[[Scene], Mapping[str, Value]]
    summary: str = ""
    extractor: str | None = None
    higher_is_better: bool | None = None
    needs: frozenset[str] = field(default_factory=frozenset)
    samples: bool = True
    last_mark_only: bool = False
    version: int = 1
    any_extractor: bool = False
    config: Any = None
    owner: str = ""
    near_reference: bool = False
    worst: float | None = None
    covariance: bool = False
