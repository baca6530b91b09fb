"""Distances in the features of vision transformers: FD-DINOv2, and CMMD in those of CLIP."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ganbench import Metric, Scene, UserError, Value, frechet_distance, hookimpl

SIGMA, SCALE = 10, 1000
"""Width of the kernel and factor of the value, as google-research/cmmd has them."""
ROWS, COLUMNS = 256, 1024  # of a kernel matrix worked on at once: what a processor keeps in its cache


def fd_dinov2(scene: Scene) -> Mapping[str, Value]:
    """Compare the embeddings of generated and reference images (Stein et al. 2023)."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    distance = frechet_distance(scene.fake.embedding, scene.real.embedding)
    return {"fd-dinov2": Value(distance, {"statistics": "mean and covariance with 1/(n-1), float64"})}


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """Return the MMD² of features `[n, d]` and `[m, d]` under exp(-‖a-b‖² / 2σ²), in float64.

    Pairs of a sample with itself count: the biased estimate, which is never negative.
    """
    x, y = x.double(), y.double()
    return max(_mean_loss(x, y) * 2 - _mean_loss(x, x) - _mean_loss(y, y), 0.0)  # rounding may leave -1e-17


def _mean_loss(x: Tensor, y: Tensor) -> float:
    """Return the mean over all pairs of 1 minus the kernel: small numbers, so that differences lose little."""
    total = 0.0
    for rows in x.split(ROWS):
        for others in y.split(COLUMNS):
            apart = rows.square().sum(1)[:, None] + others.square().sum(1) - 2 * rows @ others.T
            total -= float(torch.expm1(apart.clamp_(min=0) / (-2 * SIGMA**2)).sum())
    return total / (len(x) * len(y))


def cmmd(scene: Scene) -> Mapping[str, Value]:
    """Compare the embeddings of generated and reference images (Jayasumana et al. 2024)."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    fake, real = scene.fake.embedding.cpu(), scene.real.embedding.cpu()
    if not min(len(fake), len(real)):
        raise UserError("cmmd needs at least 1 sample of each set, not 0")
    protocol = {
        "estimate": "biased, all samples at once, times 1000",
        "kernel": f"exp(-‖x-y‖²/2σ²), σ = {SIGMA}",
        "statistics": "float64",
    }
    return {"cmmd": Value(SCALE * squared_mmd(fake, real), protocol)}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="fd-dinov2",
            compute=fd_dinov2,
            summary="Fréchet distance in the features of DINOv2 ViT-L/14; closer to what people see than FID",
            extractor="dinov2",
            covariance=True,
            higher_is_better=False,
            needs=frozenset({"images"}),
            last_mark_only=True,
        ),
        Metric(
            name="cmmd",
            compute=cmmd,
            summary="maximum mean discrepancy in the features of CLIP, times 1000; no normal distribution is assumed",
            extractor="clip",
            higher_is_better=False,
            needs=frozenset({"images"}),
            last_mark_only=True,
            worst=2 * SCALE * -math.expm1(-4 / (2 * SIGMA**2)),  # of unit vectors that lie opposite one another
        ),
    ]
