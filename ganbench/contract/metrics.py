"""Metrics and feature extractors: the nouns of scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.data import Modes, Splits
from ganbench.contract.types import Curve, DataSpec, Value


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

    def missing(self, dataset: str, data: Splits, weights: Path | None) -> str | None:
        """Return why `prepare` would fail, or None: asked before anything is trained, so it trains nothing itself.

        What can be downloaded may be, since the run would do so. None as well where only `prepare` can tell.
        """
        return None


Probe = Callable[[int], Mapping[str, Curve]]


@dataclass(frozen=True)
class Scene:
    """Everything a metric may look at, made by one pass of sampling and extraction.

    `fake`: generated samples. `real`: the reference split. `traces`: one array a name over the whole run so far, such
    as `grad_norm/G` (every update of the player G). `conditional`: samples were asked for by label.
    `seed`: for a metric that draws at random. `probe`: trains fresh discriminators against the fixed generator for so
    many updates, and returns the curves of the gradient under `log(1-D)`, `-log D` and, if it has one, its `own` loss.
    `training`: yields the training images in pieces, but for those that stand for images nobody has seen.
    """

    data: DataSpec
    fake: Features
    real: Features
    traces: Mapping[str, np.ndarray]
    modes: Modes | None = None
    conditional: bool = False
    seed: int = 0
    probe: Probe | None = None
    training: Callable[[], Iterator[Tensor]] | None = None


@dataclass(frozen=True)
class Metric:
    """A named measure of a run.

    `compute` maps a scene to values by name, its own name first among them; the protocol that it puts into a value says
    what only it knows, the harness adds the rest. `needs`, of "images", "points", "labels", "modes": what the data must
    be or have. `samples` is False for a metric that reads traces alone. `last_mark_only`: too dear for every mark.
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
