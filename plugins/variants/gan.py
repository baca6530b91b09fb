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
    """Options.

    lr: learning rate of both players (DCGAN's, Radford et al. 2015, §4).
    betas: of Adam (the same).
    simultaneous: G and D move at once, by losses of the same fakes (ali/algorithms.py of ALI's authors, with which
        PacGAN's authors train on points).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    simultaneous: bool = False


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
        fake = self.sample(n)
        loss = discriminator_loss(self.D(batch.real), self.D(fake.detach()))
        if self.config.simultaneous:  # G first: its loss needs D's weights as they are, D's loss needs nothing of G
            yield Update("G", nonsaturating_loss(self.D(fake)))
        yield Update("D", loss)
        if not self.config.simultaneous:
            yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [GAN]
