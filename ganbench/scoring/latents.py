"""Walks through the latents of a generator: between two of them, and along what parts two classes.

All of it is drawn from a copy of the variant, each time from given latents, with whatever else `sample` draws at random
(which generator of a mixture, dropout) the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ganbench.contract.data import Splits, to_uint8
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.scoring.samples import CHUNK, NotFinite
from ganbench.seeds import derive, seed_device
from ganbench.training.switches import kept

LOOK = 256
"""So many latents are drawn to see what they are like."""
SAMPLED = 512
"""So many samples are told apart to find the mean latents of classes."""
FEWEST = 8
"""A class has a mean latent if so many samples are taken for it."""

Classify = Callable[[Tensor], Tensor | None]
"""Gives uint8 images their classes, int64 `[N]`, or None where nobody can."""


class Unfit(UserError):
    """A variant, or its data, of which there can be no such picture; the sentence says why."""


class Latents:
    """The latents of a trained variant, and the images, uint8 on the host, that it makes of given ones."""

    def __init__(self, variant: Variant, data: Splits, seed: int) -> None:
        if isinstance(variant, Control) or variant.task == "translate":
            raise Unfit(f"{variant.name} makes its images of no latents")
        if not variant.data.is_image:
            raise Unfit("points stand in one picture as it is")
        self.variant, self.data, self.seed = copy.deepcopy(variant), data, seed

    def draw(self, n: int, purpose: str) -> Tensor:
        """Draw `n` latents from the variant's own prior, as rows of numbers."""
        seed_device(self.variant.device, derive(self.seed, purpose))
        with torch.no_grad(), kept():
            z = self.variant.noise(n)
        if not (z.ndim >= 2 and len(z) == n and z.is_floating_point()):
            raise Unfit(f"the latents of {self.variant.name} are no rows of numbers")
        return z

    def images(self, z: Tensor, labels: Tensor | None = None, purpose: str = "latents") -> Tensor:
        """Make the images of latents. Raises `Unfit` where `sample` asks for other ones than it is given."""
        variant, asked = self.variant, list[int]()

        def noise(n: int) -> Tensor:
            asked.append(n)
            return z

        seed_device(variant.device, derive(self.seed, purpose))
        vars(variant)["noise"] = noise  # of this object alone
        try:
            with torch.no_grad(), kept():
                samples = variant.sample(len(z), None if labels is None else labels.to(variant.device))
        finally:
            del vars(variant)["noise"]
        if asked != [len(z)]:
            raise Unfit(f"{variant.name} does not make each sample of one latent")
        if not bool(torch.isfinite(samples).all()):
            raise NotFinite(f"{variant.name} generates values that are not finite")
        return to_uint8(samples).cpu()

    def sampled(self, n: int, purpose: str) -> tuple[Tensor, Tensor]:
        """Draw `n` latents and make their images. Raises `Unfit` where not the latent alone tells an image."""
        if self.variant.task == "label":
            raise Unfit(f"{self.variant.name} makes images by class, so that its latents do not tell one")
        z = self.draw(n, purpose)
        images = self.made_of(z)
        if not torch.equal(images[:CHUNK], self.images(z[:CHUNK], purpose="again")):
            raise Unfit(f"the images of {self.variant.name} are not made of latents alone")
        return z, images

    def made_of(self, z: Tensor) -> Tensor:
        """Make the images of any number of latents, a chunk at a time."""
        return torch.cat([self.images(piece) for piece in z.split(CHUNK)])

    def labels(self, n: int) -> Tensor | None:
        """Return labels for `n` rows, as many different ones as there are, where the variant makes images by class."""
        cond = self.data.train.cond
        if self.variant.task != "label" or cond is None:
            return None
        known = cond.unique()
        return known[torch.arange(n) % len(known)]


def interpolation(latents: Latents, rows: int = 8, columns: int = 8) -> Tensor:
    """Return rows of images on the way from one latent to another, `[rows, columns, C, H, W]`, both ends among them.

    The way is an arc of the sphere for a Gaussian prior, on whose straight lines there are hardly any latents. A prior
    that never leaves the cube from -1 to 1, where most draw uniformly, has straight lines, for those stay inside.
    Coordinates that are 0 or 1 alone, as a category has, keep the first end's values, and so do labels.
    """
    seen = latents.draw(LOOK, "interpolation-prior")
    fixed = ((seen == 0) | (seen == 1)).all(0)
    straight = bool((seen.abs() <= 1).all())
    first, last = latents.draw(2 * rows, "interpolation").split(rows)
    labels = latents.labels(rows)
    made = []
    for share in torch.linspace(0, 1, columns, dtype=torch.float64).tolist():
        z = line(first, last, share) if straight else arc(first, last, share)
        made.append(latents.images(torch.where(fixed, first, z), labels, "interpolation-rest"))
    return torch.stack(made, 1)


def line(first: Tensor, last: Tensor, share: float) -> Tensor:
    """Go a share of the straight way from one latent to another."""
    return (1 - share) * first + share * last


def arc(first: Tensor, last: Tensor, share: float) -> Tensor:
    """Go a share of the way around the origin, row by row; in between lengths change as evenly as angles.

    sin((1-t)ω)/sin ω · a + sin(tω)/sin ω · b for the angle ω between a and b; straight where they lie on one line.
    """
    a, b = (z.cpu().double().flatten(1) for z in (first, last))  # not every device has float64
    cosine = (a * b).sum(1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True))
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    around = ((1 - share) * angle).sin() / sine * a + (share * angle).sin() / sine * b
    return around.where(sine > 1e-6, line(a, b, share)).to(first).view_as(first)


ARITHMETIC = (1, 1, 2, 2, 2)
"""How the columns of `arithmetic` belong together."""


def arithmetic(latents: Latents, classify: Classify, rows: int = 8) -> Tensor:
    """Return rows of latent arithmetic, `[R, 8, C, H, W]`: of the mean latents a and b of two classes, and a - b + c.

    A row holds the images of a, of b, and for three samples c of the class of b those of c and of a - b + c, which
    would be of the class of a if classes lay in directions. After soumith/dcgan.torch, arithmetic.lua, where people
    choose three samples each for a, b and c; here a classifier tells apart 512 samples, and no sample is chosen.

    Raises `Unfit` where labels are asked for, nobody can classify, or the samples are all of one class.
    """
    z, images = latents.sampled(SAMPLED, "arithmetic")
    found = classify(images)
    if found is None:
        raise Unfit("no metric of the run has a classifier of the data")
    known = [label for label, count in enumerate(found.bincount().tolist()) if count >= FEWEST]
    if len(known) < 2:
        counted = f"{len(known)} class has" if len(known) == 1 else f"{len(known)} classes have"
        raise Unfit(f"{counted} {FEWEST} of {SAMPLED} samples, and two are needed")
    of = {label: z[(found == label).to(z.device)] for label in known}
    made = []
    for one, other in zip(known[:rows], [*known[1:], known[0]][:rows], strict=True):
        a, b, three = of[one].mean(0), of[other].mean(0), of[other][:3]
        made.append(torch.stack([a, b, *(z for c in three for z in (c, a - b + c))]))
    return latents.images(torch.cat(made)).unflatten(0, (len(made), -1))
