"""Instance noise: D sees all samples through Gaussian noise (Sønderby et al., 2017; Arjovsky & Bottou, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (Radford et al. 2016, §4).
    betas: of both Adams (Radford et al. 2016, §4).
    deviation: σ of the noise at first, where pixels are in [-1, 1]; on points in their unit (0.1 in the appendix of
        Sønderby et al., from memory, unchecked; 0.7 on the Dirac-GAN in DiracGAN.ipynb of Mescheder et al. 2018).
    fall: "linear" to nothing over the whole budget, or "constant" (Sønderby et al., from memory, unchecked; constant in
        diracgan/gans.py of Mescheder et al. 2018).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    deviation: NonNegative = 0.1
    fall: Literal["linear", "constant"] = "linear"


class InstanceNoise(Variant):
    """The non-saturating GAN whose D tells noisy real samples from noisy fakes.

    The noise is new each time that D looks. With it the distributions overlap, however thin they are, so that a D which
    is trained to the end still has a slope where the fakes are. Samples are G's own, without noise.

    Objective: min_D E sp(-D(x + σε)) + E sp(D(G(z) + σε)), min_G E sp(-D(G(z) + σε)), ε ~ N(0, I)
    Departures: both papers propose the noise for other networks and tasks (super-resolution; a theory); networks,
    optimizer and rates are those of `gan` here, so that the noise is all that differs.
    Budget: none was read
    Published: none was read
    """

    name = "instance-noise"
    summary = "the discriminator sees real and fake samples through noise that fades"
    paper = "Sønderby et al. 2017, arXiv:1610.04490; Arjovsky & Bottou 2017, arXiv:1701.04862"
    family = "regulariser"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def judge(self, x: Tensor, clock: Clock) -> Tensor:
        """Return D of samples under fresh noise of this moment's deviation."""
        share: Tensor | float = 1 - clock.progress if self.config.fall == "linear" else 1.0
        output: Tensor = self.D(x + self.config.deviation * share * torch.randn_like(x))
        return output

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.judge(batch.real, clock), self.judge(fake, clock)))
        yield Update("G", nonsaturating_loss(self.judge(self.sample(n), clock)))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [InstanceNoise]
