"""What lies between two latents, in numbers: how even the way is, and whether its middle looks like data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganbench.contract.data import Splits
from ganbench.scoring.latents import Latents, interpolation
from ganbench.toolbox.judges import Judge

MOST = 10_000
"""So many training images at most are looked through for the nearest."""
MADE, LOOKED_UP, BLENDED = "G's", "training images", "blends of test images"
"""Whose images lie on a walk: the generator's, the nearest training image to each of these, mixtures of real ones."""

WALKS_NOTE = (
    "images: G's on the way from one latent to another, the training image nearest to each of these, two test images "
    "blended; uneven: the largest step in mean steps, 1 on an even walk; near: distance to the nearest training image, "
    "in that of test images, by features of the classifier (pixels where there is none); sure: its largest probability"
)
"""What the numbers of walks are, for a table of them."""


def walks(
    latents: Latents, judge: Judge, data: Splits, paths: int, points: int
) -> dict[str, tuple[dict[str, float], Tensor]]:
    """Measure walks between two latents beside what a memory and a mixer of pixels would give; by whose images.

    `uneven`: see there, of pixels and of the judge's features. `near`: the distance of these to the nearest training
    image, in that of test images, at both ends and in the middle; `farther`: how much larger it is there than at the
    ends; `sure`: the judge's largest probability. Images: uint8 `[paths, points, C, H, W]`, both ends among them.
    """
    train, test = data.train.images[:MOST], data.test.images[:MOST]
    made = interpolation(latents, paths, points)
    rows = nearest(made.flatten(0, 1).flatten(1).float(), train.flatten(1).float())[1]
    ends = test[torch.arange(2 * paths) % len(test)].float()
    shares = torch.linspace(0, 1, points).view(1, -1, 1, 1, 1)
    blends = (1 - shares) * ends[:paths, None] + shares * ends[paths:, None]
    known = judge.features_of(f"train {data.fingerprint}", train)
    unit = nearest(judge.features_of(f"test {data.fingerprint}", test), known)[0].mean()
    images = {MADE: made, LOOKED_UP: train[rows].view_as(made), BLENDED: blends.round().to(torch.uint8)}
    return {of: (_measured(each, judge, known, float(unit)), each) for of, each in images.items()}


def _measured(images: Tensor, judge: Judge, known: Tensor, unit: float) -> dict[str, float]:
    seen, shape, middle = judge(images.flatten(0, 1)), images.shape[:2], images.shape[1] // 2
    near, sure = (nearest(seen.features, known)[0] / unit).view(shape), seen.sure.view(shape)
    found: Mapping[str, Tensor] = {"near": near, "sure": sure}
    measured = {
        "uneven in pixels": uneven(images.float().flatten(2)),
        "uneven in features": uneven(seen.features.unflatten(0, shape)),
        **{f"{name} at ends": float(of[:, [0, -1]].mean()) for name, of in found.items()},
        **{f"{name} in middle": float(of[:, middle].mean()) for name, of in found.items()},
    }
    return {**measured, "farther": measured["near in middle"] - measured["near at ends"]}


def stations(images: Tensor, walks: int, most: int = 9) -> Tensor:
    """Return of the first walks so many images at most, evenly spread from one end to the other."""
    points = images.shape[1]
    return images[:walks, torch.linspace(0, points - 1, min(most, points)).round().long()]


def nearest(points: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance of each row to the nearest known one, and which that is."""
    found = [torch.cdist(piece, known).min(1) for piece in points.split(256)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def uneven(paths: Tensor) -> float:
    """Return the largest step of paths `[P, T, d]` in mean steps, over all paths: 1 on even ones, T - 1 at one jump."""
    steps = paths.diff(dim=1).norm(dim=2)
    return float(steps.max(1).values.mean() / steps.mean())
