"""Copies: generated images that lie far closer to a training image than to any real image that nobody was shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from ganbench import Metric, Scene, UserError, Value, hookimpl

SIDE = 16
"""Images are compared at this side at most, averaged over areas."""
ONE_IN = 100
"""One in so many unseen images counts as a copy, by definition; more where there are fewer reference images."""
ROUNDING = 1e-5
"""A squared distance below this share of an image's square is a difference of float32, and nothing."""
CHUNK = 1024
"""So many samples are compared with a piece of the others at a time: what a processor keeps in its cache."""


@dataclass(frozen=True)
class Config:
    """Options; what is compared is multiplied by 2 for `mirror`, by (2·shift + 1)² for `shift`, and so is the time.

    mirror: images that are a real one mirrored, left for right, are copies as well.
    shift: and those that are moved by up to so many pixels, up, down and sideways, their outermost lines repeated.
    """

    mirror: bool = True
    shift: Annotated[int, Ge(0)] = 0


def moved(images: Tensor, options: Config) -> Iterator[Tensor]:
    """Yield images as they are, then mirrored, then all of these moved by each number of pixels."""
    reach = options.shift
    height, width = images.shape[-2:]
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate") if reach else images
    places = [(top, left) for top in range(2 * reach + 1) for left in range(2 * reach + 1)]
    for top, left in sorted(places, key=lambda place: place != (reach, reach)):
        view = padded[..., top : top + height, left : left + width]
        yield from (view, view.flip(-1)) if options.mirror else (view,)


def vectors(images: Tensor) -> Tensor:
    """Return images as rows in [0, 1], at most 16 px a side."""
    side = min(SIDE, *images.shape[-2:])
    return F.adaptive_avg_pool2d(images.float() / 255, side).flatten(1)


def nearest(samples: Tensor, others: Iterable[Tensor], options: Config, *, same: bool = False) -> Tensor:
    """Return each sample's distance to the nearest of other images, however it is moved: `[N]`.

    `same`: the others are the samples themselves, in order; none is its own neighbour. A distance that cannot be told
    from rounding is 0.
    """
    forms = [vectors(form) for form in moved(samples, options)]
    best, count = torch.full((len(forms), len(samples)), torch.inf), 0
    for piece in others:
        y = vectors(piece)
        squares = y.square().sum(1)
        for x, least in zip(forms, best, strict=True):
            for start in range(0, len(x), CHUNK):
                part = slice(start, start + CHUNK)
                apart = torch.addmm(squares, x[part], y.T, alpha=-2)
                if same:
                    apart.diagonal(start - count).fill_(torch.inf)
                least[part] = torch.minimum(least[part], apart.amin(1))
        count += len(y)
    own = torch.stack([x.square().sum(1) for x in forms])
    apart = best + own
    return apart.where(apart > ROUNDING * own, 0).amin(0).sqrt()


def copies(scene: Scene) -> Mapping[str, Value]:
    """Return the share of samples that are copies of training images.

    A sample is one if the ratio of its distances, to the nearest training image over to the nearest reference image, is
    below a bound that one in a hundred unseen images is below: of N ratios of reference images the k-th, from below,
    where k is the whole part of (N + 1)/100, or 1. A blur is close to everything, and its ratio is one.

    Raises `UserError` for fewer than 2 reference images, and where so many of them are training images that the bound
    is zero.
    """
    if scene.training is None:
        raise UserError("copies compares with the training images, which are not at hand")
    options = scene.options or Config()
    real, fake = scene.real.images, scene.fake.images
    if len(real) < 2:
        raise UserError(f"copies needs at least 2 reference images, not {len(real)}")
    to_training = nearest(torch.cat([real, fake]), (piece.images for piece in scene.training()), options)
    within = nearest(real, real.split(CHUNK), options, same=True)
    to_reference = torch.cat([within, nearest(fake, real.split(CHUNK), options)])
    ratios = to_training / to_reference.clamp(min=1e-6)
    rank = max(1, (len(real) + 1) // ONE_IN)
    bound = ratios[: len(real)].kthvalue(rank).values
    if not bound:
        equal = int((to_training[: len(real)] == 0).sum())
        raise UserError(
            f"{equal} of {len(real)} reference images are training images as well: copies measures samples by images "
            f"that nobody was shown, so it needs a test split that shares none with the training split"
        )
    share = float((ratios[len(real) :] < bound).double().mean())
    by_definition = rank / (len(real) + 1)
    protocol = {
        "copy": f"distance to training over distance to reference below that of {1 - by_definition:.1%} of real images",
        "distance": f"Euclidean over pixels, at {min(SIDE, *real.shape[-2:])} px",
        "moved": f"{'mirrored too' if options.mirror else 'not mirrored'}, shifted by {options.shift} px at most",
    }
    return {"copies": Value(share, protocol, spread=math.sqrt(share * (1 - share) / len(fake)))}


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
            version=2,
            config=Config(),
            worst=1,
        )
    ]
