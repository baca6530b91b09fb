"""DRAGAN: a gradient penalty around the data (Kodali et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    gradient_norms,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the authors' notebook. `spread`: of the noise, in deviations of the batch."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    penalty: NonNegative = 10.0
    spread: NonNegative = 0.5


class DRAGAN(Variant):
    """The non-saturating GAN whose D has a slope near one around real samples: λ E (‖∇D(x + αδ)‖ - 1)² (§2.3).

    As in the authors' notebook δ is uniform on [0, spread · deviation of the batch) in every pixel, α uniform on
    [0, 1) for each sample, and the slope is that of the logits. D is layer-normalised: batch norm would mix the samples
    that the penalty treats one by one.
    """

    name = "dragan"
    summary = "the discriminator's gradient norm pulled to one around the data"
    paper = "Kodali et al. 2017, arXiv:1705.07215"
    family = "regulariser"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def around(self, real: Tensor) -> Tensor:
        """Return a point near each real sample."""
        noise = self.config.spread * real.std() * torch.rand_like(real)
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        return real + share * noise

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        penalty = (gradient_norms(self.D, self.around(batch.real)) - 1).square().mean()
        loss = discriminator_loss(self.D(batch.real), self.D(fake))
        yield Update("D", loss + self.config.penalty * penalty, {"penalty": penalty.detach()})
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DRAGAN]
