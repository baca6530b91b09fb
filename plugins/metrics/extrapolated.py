"""The Fréchet distance extrapolated to infinitely many generated samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from ganbench import Metric, Scene, UserError, Value, derive, frechet_distance, hookimpl

LARGEST_FIRST = 5000  # the smallest subset is no larger than this (Chong & Forsyth's), whatever the number of samples
LEAST = 30


@dataclass(frozen=True)
class Config:
    """Options.

    points: numbers of samples, evenly spaced, that distances are computed for (Chong & Forsyth 2020).
    """

    points: Annotated[int, Ge(3)] = 15


def sizes(n: int, points: int) -> list[int]:
    """Return the numbers of samples of the subsets: from a tenth of all, 5000 at most, to all."""
    return [int(size) for size in np.unique(np.linspace(min(LARGEST_FIRST, n // 10), n, points).astype(int))]


def line_at_zero(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the intercept of a line through 3 points or more, by least squares, and its standard error."""
    spread = np.square(x - x.mean()).sum()
    slope = (x - x.mean()) @ (y - y.mean()) / spread
    intercept = y.mean() - slope * x.mean()
    residual = np.square(y - intercept - slope * x).sum() / (len(x) - 2)
    return float(intercept), math.sqrt(residual * (1 / len(x) + x.mean() ** 2 / spread))


def extrapolate(fake: Tensor, real: Tensor, points: int, seed: int) -> tuple[float, float]:
    """Return the distance at 1/N = 0 on a line through those of random subsets of N samples, and its standard error.

    The error is that of the fit alone: the subsets share samples, and new samples differ by two or three times as much.
    """
    generator = torch.Generator().manual_seed(derive(seed, "fid-inf"))
    ns = sizes(len(fake), points)
    chosen = (torch.randperm(len(fake), generator=generator)[:n] for n in ns)
    distances = [frechet_distance(fake[rows], real) for rows in chosen]
    return line_at_zero(1 / np.array(ns, dtype=np.float64), np.array(distances))


def fid_inf(scene: Scene) -> Mapping[str, Value]:
    """Extrapolate the distance to the reference in the number of generated samples (Chong & Forsyth 2020).

    The bias that is left is that of the number of reference images, which is the same for all. May be negative.
    """
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    fake, real = scene.fake.embedding.cpu(), scene.real.embedding.cpu()
    if len(fake) < LEAST:
        raise UserError(f"fid-inf extrapolates from subsets of at least {LEAST} samples, not {len(fake)}")
    points = (scene.options or Config()).points
    value, error = extrapolate(fake, real, points, scene.seed)
    least, *_, most = sizes(len(fake), points)
    protocol = {
        "extrapolation": f"line in 1/N through {points} random subsets of {least} to {most}, at 0; reference whole",
        "statistics": "mean and covariance with 1/(n-1), float64",
    }
    return {"fid-inf": Value(value, protocol, spread=error)}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="fid-inf",
            compute=fid_inf,
            summary="FID extrapolated to infinitely many samples, so that their number does not matter",
            extractor="inception",
            any_extractor=True,
            higher_is_better=False,
            needs=frozenset({"images"}),
            last_mark_only=True,
            config=Config(),
            covariance=True,
        )
    ]
