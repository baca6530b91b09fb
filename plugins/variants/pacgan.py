"""PacGAN: a discriminator of several samples at once (Lin et al., 2018)."""

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
    Count,
    Fraction,
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
    """Options; the defaults are those of DCGAN, which the paper packs.

    `packing`: m of the paper, samples that D sees together; 1 is the plain GAN. The authors' code for stacked MNIST
    has a "uniform" prior, on (-1, 1), and `generator_steps` of 2.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    packing: Count = 2
    generator_steps: Count = 1
    prior: Literal["normal", "uniform"] = "normal"


class PacGAN(Variant):
    """D(x₁, ..., x_m) tells m real samples from m fakes, so that fakes too much alike give themselves away (§2).

    The samples of a pack lie side by side in the channels of D's first layer, the only one that grows. As in the
    authors' experiments the number of packs a step, not that of samples, is the batch of a GAN that does not pack; so
    a step is served `packing` times as many images.
    """

    name = "pacgan"
    summary = "the discriminator judges several samples at once"
    paper = "Lin et al. 2018, arXiv:1712.04086"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        self.D = parts.discriminator(channels=self.config.packing * parts.data.shape[0], norm="batch")

    def images_per_step(self, batch: int) -> int:
        """Return the size of `batch` packs."""
        return self.config.packing * batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def noise(self, n: int) -> Tensor:
        """Draw latents from the prior that the options name."""
        if self.config.prior == "uniform":
            return torch.rand(n, self.z_dim, device=self.device) * 2 - 1
        return super().noise(n)

    def judge(self, x: Tensor) -> Tensor:
        """Return D of each pack; a pack is `packing` samples that follow one another."""
        output: Tensor = self.D(x.unflatten(0, (-1, self.config.packing)).flatten(1, 2))
        return output

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.judge(batch.real), self.judge(fake)))
        for _ in range(self.config.generator_steps):
            yield Update("G", nonsaturating_loss(self.judge(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [PacGAN]
