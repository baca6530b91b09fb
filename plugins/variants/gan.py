"""GAN with the non-saturating generator loss (Goodfellow et al., 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
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
    """Options; the defaults are those of DCGAN (Radford et al. 2015, §4)."""

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)


class GAN(Variant):
    """G maximises log D(G(z)) instead of minimising log(1 - D(G(z))) (§3 of the paper)."""

    name = "gan"
    summary = "the original GAN with the non-saturating generator loss"
    paper = "Goodfellow et al. 2014, arXiv:1406.2661"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake)))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [GAN]
