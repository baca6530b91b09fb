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
    JointDiscriminator,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; rate and `betas` are those of DCGAN, which the paper compares with.

    `deviation`: of the Gaussian p(z|x) around the reconstructor's mean. With "zero" the pairs hold the mean itself, as
    in the authors' program for MNIST; with "unit", of which the paper speaks, no code can be N(0, I); "learned" makes
    the distance -log p(z|x). `reconstructor`: "both" trains it by the distance and against D, as that program does and
    as the objective of §3.2 says, which both networks minimise; "distance" by the distance alone, as algorithm 1 is
    printed. `reduction`: the distance is the mean over the numbers of z, or their sum, as printed. With 100 numbers
    the sum drowns D, and G makes a few blurs; the authors' program has 32. `width`: of D's layers above the sample's
    own.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    deviation: Literal["zero", "unit", "learned"] = "zero"
    reconstructor: Literal["both", "distance"] = "both"
    reduction: Literal["mean", "sum"] = "mean"
    width: Count = 512


class VEEGAN(Variant):
    """D estimates the log ratio of pairs (z, G(z)) to pairs (F(x), x); G lowers it and what F misses (algorithm 1).

    The generated pairs are D's class 1, and G minimises the mean of D's raw output on them, the estimated divergence
    between the joint distributions, plus d(z, F(G(z))). F is trained by d alone, if the options say no more. D, F and
    G move in turn on one draw of z, where the paper updates them at once.
    """

    name = "veegan"
    summary = "a reconstructor from images to noise, its error part of the generator's loss"
    paper = "Srivastava et al. 2017, arXiv:1705.07761"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        outputs, width = parts.z_dim * (2 if self.config.deviation == "learned" else 1), self.config.width
        self.G, self.F = parts.generator(), parts.encoder(outputs=outputs)
        self.D = JointDiscriminator(parts.discriminator(outputs=width, norm="batch"), parts.z_dim, width)

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
        fake = self.G(z)
        code = self.reconstruct(x).detach()
        yield Update("D", discriminator_loss(self.D(fake.detach(), z), self.D(x, code)))
        loss = self.distance(z, fake.detach())
        if self.config.reconstructor == "both":
            loss = loss - self.D(x, self.reconstruct(x)).mean()
        yield Update("F", loss)
        distance = self.distance(z, fake)
        yield Update("G", self.D(fake, z).mean() + distance, {"reconstruction": distance.detach()})


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [VEEGAN]
