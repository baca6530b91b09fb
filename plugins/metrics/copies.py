"""Copies: generated images that lie far closer to a training image than to any real image that nobody was shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ganbench import Metric, Scene, UserError, Value, hookimpl

SIDE = 16
"""Images are compared at this side at most, averaged over areas."""
SHARE = 0.01
"""So many of the reference images count as copies themselves, by definition."""
CHUNK = 1024
"""So many samples are compared with a piece of the others at a time: what a processor keeps in its cache."""


def vectors(images: Tensor) -> Tensor:
    """Return images as rows in [0, 1], at most 16 px a side."""
    side = min(SIDE, *images.shape[-2:])
    return adaptive_avg_pool2d(images.float() / 255, side).flatten(1)


def nearest(samples: Tensor, others: Iterable[Tensor], *, same: bool = False) -> tuple[Tensor, int]:
    """Return each sample's distance to the nearest of other images, and how many of these there were.

    `same`: the others are the samples themselves, in order; none is its own neighbour.
    """
    x = vectors(samples)
    best, count = torch.full((len(x),), torch.inf), 0
    for piece in others:
        y = vectors(piece)
        squares = y.square().sum(1)
        for start in range(0, len(x), CHUNK):
            part = slice(start, start + CHUNK)
            apart = torch.addmm(squares, x[part], y.T, alpha=-2)
            if same:
                apart.diagonal(start - count).fill_(torch.inf)
            best[part] = torch.minimum(best[part], apart.amin(1))
        count += len(y)
    return (best + x.square().sum(1)).clamp(min=0).sqrt(), count


def copies(scene: Scene) -> Mapping[str, Value]:
    """Return the share of samples that are copies of training images.

    A sample is one if the ratio of its distances, to the nearest training image over to the nearest reference image, is
    below that of 99 % of the reference images themselves. A blur is close to everything, and its ratio is one.
    Raises `UserError` for fewer than 2 reference images.
    """
    if scene.training is None:
        raise UserError("copies compares with the training images, which are not at hand")
    real, fake = scene.real.images, scene.fake.images
    if len(real) < 2:
        raise UserError(f"copies needs at least 2 reference images, not {len(real)}")
    to_training, count = nearest(torch.cat([real, fake]), (piece.images for piece in scene.training()))
    others = nearest(real, real.split(CHUNK), same=True)[0], nearest(fake, real.split(CHUNK))[0]
    ratios = to_training / torch.cat(others).clamp(min=1e-6)
    threshold = ratios[: len(real)].kthvalue(max(1, round(SHARE * len(real)))).values
    share = (ratios[len(real) :] < threshold).double().mean()
    protocol = {
        "copy": f"distance to training over distance to reference below that of {1 - SHARE:.0%} of the reference",
        "distance": f"Euclidean over pixels, at {min(SIDE, *real.shape[-2:])} px",
        "n_train": count,
    }
    return {"copies": Value(float(share), protocol)}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="copies",
            compute=copies,
            summary="share of samples that lie far closer to a training image than to any unseen real one",
            higher_is_better=False,
            needs=frozenset({"images"}),
            last_mark_only=True,
        )
    ]
