"""Metrics and feature extractors: the nouns of scoring, and the Fréchet distance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ganbench.data import Modes, Splits
from ganbench.errors import UserError
from ganbench.types import Curve, DataSpec, Value


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


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two sets of features `[n, d]` and `[m, d]`.

    ‖μ₁−μ₂‖² + Tr Σ₁ + Tr Σ₂ − 2 Tr √(Σ₁Σ₂) (Dowson & Landau 1982), in float64 on the host, covariances with 1/(n−1).
    With Σ₁ = LLᵀ and Σ₂ = MMᵀ the last trace is the sum of the singular values of LᵀM: no matrix square root, no term
    added to the diagonal, exact where n < d. It is found to 1e-7 of Tr Σ₁ + Tr Σ₂ or better, where both sets have more
    than 512 samples and features, else to rounding. A difference of the traces between −1e-6 of their sum and 0 is
    rounding and counts as 0. Raises `UserError` for fewer than 2 samples, sets of different width, values not finite.
    """
    for features in (a, b):
        if features.ndim != 2 or features.shape[1] != a.shape[1]:
            raise UserError(f"a Fréchet distance needs two sets [n, d], not {tuple(a.shape)} and {tuple(b.shape)}")
        if len(features) < 2:
            raise UserError(f"a Fréchet distance needs at least 2 samples of each set, not {len(features)}")
        if not features.isfinite().all():
            raise UserError("a Fréchet distance needs finite features, but some are infinite or not a number")
    mean_a, factor_a = _moments(a)
    mean_b, factor_b = _moments(b)
    scale = float(factor_a.square().sum() + factor_b.square().sum())
    if not math.isfinite(scale):
        raise ArithmeticError(f"the variances of a Fréchet distance add up to {scale}")
    spread = scale - 2 * _nuclear_norm(factor_a @ factor_b.T, tolerance=0.5e-7 * scale)
    distance = float((mean_a - mean_b).square().sum()) + max(spread, 0.0)
    if not math.isfinite(distance) or spread < -1e-6 * scale:
        raise ArithmeticError(f"the Fréchet distance came out as {distance}, its covariance part as {spread}")
    return distance


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and a factor F `[min(n, d), d]` of the covariance, Σ = FᵀF."""
    rows = features.detach().cpu().double()
    mean = rows.mean(0)
    factor = (rows - mean) / math.sqrt(len(rows) - 1)
    return mean, torch.linalg.qr(factor, mode="r").R if len(rows) > rows.shape[1] else factor


def _nuclear_norm(matrix: Tensor, tolerance: float) -> float:
    """Return the sum of the singular values."""
    if min(matrix.shape) > 512:  # a decomposition takes seconds; that of the Gram matrix a third of them
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        squares = torch.linalg.eigvalsh(gram).clamp(min=0)
        roots = squares.sqrt()
        error = 4 * torch.finfo(gram.dtype).eps * squares[-1]  # of each square; of its root min(√error, error/root)
        if float((error / roots).clamp(max=error.sqrt()).sum()) <= tolerance:
            return float(roots.sum())
    return float(torch.linalg.svdvals(matrix).sum())
