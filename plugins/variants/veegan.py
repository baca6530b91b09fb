"""VEEGAN: a reconstructor that maps images back to the noise (Srivastava et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    joint_discriminator,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of all players (ours, DCGAN's, which the paper compares with; ports of the authors' notebook on
        points have 1e-3).
    betas: of Adam (DCGAN's; those ports have 0.5 for the first, too).
    deviation: of the Gaussian p(z|x) around F(x), from which D's pairs are drawn. "unit", with which no code can be
        N(0, I) (ports of the authors' notebook); "learned", a function of x, the distance then is -log p(z|x) (ours);
        "zero", F(x) itself (veegan_julia_mnist.ipynb, a reader's program among the authors').
    reconstructor: what F minimises. "distance": E d alone (algorithm 1, line 9); "both": it less D of the pairs (ẑ, x)
        (veegan_julia_mnist.ipynb).
    reduction: of d over the numbers of z, their "sum" (the squared ℓ2 norm of the authors' index.md) or their "mean",
        where many numbers would drown D (ours).
    width: of D's layers above the sample's own, on images (ours).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    deviation: Literal["unit", "learned", "zero"] = "unit"
    reconstructor: Literal["distance", "both"] = "distance"
    reduction: Literal["sum", "mean"] = "sum"
    width: Count = 512


class VEEGAN(Variant):
    """D estimates the log ratio of pairs (z, G(z)) to pairs (ẑ, x), ẑ ~ p(z|x); G lowers it and what F misses.

    Objective: min_D -E log σ(D(z, G(z))) - E log(1 - σ(D(ẑ, x))), min_F E d(z, F(G(z))), min_G E D(z, G(z)) +
    E d(z, F(G(z))), d(z, F(x)) = ‖z - F(x)‖² (algorithm 1). All three losses are of one draw, before any network moves.
    Departures: Adam, where algorithm 1 names plain gradient descent. G is deterministic, and F as deep as the
    backbone's encoder. Ports of the authors' notebook on points, which could not be read itself, take -log p(z|x) for
    the distance, with a unit deviation half of ours.
    Budget: none was read
    Published: 8 modes of the ring at 52.9 % of high quality, 24.6 of the grid at 40 %; 150 modes of stacked MNIST, KL
    2.95, with networks that are not known (tables 1 and 2).
    """

    name = "veegan"
    summary = "a reconstructor from images to noise, its error part of the generator's loss"
    paper = "Srivastava et al. 2017, arXiv:1705.07761"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        outputs = (2 if self.config.deviation == "learned" else 1) * parts.z_dim
        self.G, self.F = parts.generator(), parts.encoder(outputs=outputs)
        self.D = joint_discriminator(parts, self.config.width)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {player: Adam(getattr(self, player).parameters(), lr, betas) for player in ("G", "F", "D")}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Draw a latent for each sample from p(z|x)."""
        code: Tensor = self.F(x).float()
        if self.config.deviation == "zero":
            return code
        if self.config.deviation == "unit":
            return code + torch.randn_like(code)
        mean, log_deviation = code.chunk(2, 1)
        return mean + log_deviation.exp() * torch.randn_like(mean)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """Return E d(z, F(x)): the squared error, or -log p(z|x) where the deviation is learned."""
        code = self.F(x).float()
        if self.config.deviation != "learned":
            return self.reduce((z - code).square())
        mean, log_deviation = code.chunk(2, 1)
        errors = (z - mean) * (-log_deviation).exp()
        return self.reduce(0.5 * errors.square() + log_deviation + 0.5 * math.log(2 * math.pi))

    def reduce(self, distances: Tensor) -> Tensor:
        """Average over the batch what each number of z is off by."""
        whole = distances.sum(1) if self.config.reduction == "sum" else distances.mean(1)
        return whole.mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, z = batch.real, self.noise(len(batch.real))
        fake, inferred = self.G(z), self.reconstruct(x)
        of_D = discriminator_loss(self.D(fake.detach(), z), self.D(x, inferred.detach()))
        of_F = self.distance(z, fake.detach())
        if self.config.reconstructor == "both":
            of_F = of_F - self.D(x, inferred).mean()
        distance = self.distance(z, fake)
        # Each moves before those whose weights its loss does not need, so all losses are of the weights before.
        yield Update("G", self.D(fake, z).mean() + distance, {"reconstruction": distance.detach()})
        yield Update("F", of_F)
        yield Update("D", of_D)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [VEEGAN]
