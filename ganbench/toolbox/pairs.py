"""Two domains of images, for variants that translate from one into the other and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganbench.contract.data import Domain, ImageSet, Source, Splits
from ganbench.contract.types import digest
from ganbench.errors import UserError


class Pairs:
    """All pairs of a target and a source image: number k is target k // m and source k % m of m sources."""

    def __init__(self, targets: Tensor, sources: Tensor) -> None:
        self.targets, self.sources = targets, sources
        self.nbytes = targets.nbytes + sources.nbytes

    def __len__(self) -> int:
        return len(self.targets) * len(self.sources)

    def __getitem__(self, rows: Tensor) -> ImageSet:
        """Return the images of these pairs; the sources stand where labels stand elsewhere."""
        m = len(self.sources)
        return ImageSet(self.targets[rows // m], self.sources[rows % m])

    def to(self, device: torch.device) -> Source:
        """Return the same pairs with their images on `device`."""
        return Pairs(self.targets.to(device), self.sources.to(device))


def translation(source: Splits, target: Splits, *, names: tuple[str, str], paired: bool) -> Splits:
    """Join two data sets into one of the task `translate`: steps are served random, unrelated pairs of both.

    `names`: of the source and of the target. `paired`: the test images of both correspond, row by row, so that the
    error of a translation is known. Raises `UserError` where the shapes differ, or paired tests in their number.
    """
    shapes = [tuple(side.train.images.shape[1:]) for side in (source, target)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the images of {names[0]} are {shapes[0]} and those of {names[1]} {shapes[1]}: "
            "both domains must have one size and as many channels (set size and channels)"
        )
    counts = [len(side.test.images) for side in (source, target)]
    if paired and counts[0] != counts[1]:
        raise UserError(f"{names[0]} and {names[1]} are no pairs: they have {counts[0]} and {counts[1]} test images")
    key = digest({"source": source.fingerprint, "target": target.fingerprint, "paired": paired})
    protocol: Mapping[str, Any] = {
        "direction": f"{names[0]} to {names[1]}",
        "source": dict(source.protocol),
        "target": dict(target.protocol),
    }
    return Splits(
        train=ImageSet(target.train.images, source=Pairs(target.train.images, source.train.images)),
        test=ImageSet(target.test.images),
        fingerprint=key,
        protocol=protocol,
        domain=Domain(source.train.images, source.test.images, names, paired),
        notes=tuple(
            f"{name}: {note}" for name, side in zip(names, (source, target), strict=True) for note in side.notes
        ),
    )


def reverse(data: Splits) -> Splits:
    """Return the same two domains with source and target exchanged."""
    assert data.domain is not None
    train, test, (first, second), paired = data.domain
    target = data.train.images
    return Splits(
        train=ImageSet(train, source=Pairs(train, target)),
        test=ImageSet(test),
        fingerprint=digest([data.fingerprint, "reversed"]),
        protocol={**data.protocol, "direction": f"{second} to {first}"},
        domain=Domain(target, data.test.images, (second, first), paired),
    )
