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

    lr: learning rate of both players (Radford et al. 2016, §4).
    betas: of both Adams (Radford et al. 2016, §4).
    simultaneous: G and D move at once, by losses of the same fakes (ali/algorithms.py of ALI's authors, with which
        PacGAN's authors train on points).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    simultaneous: bool = False


class GAN(Variant):
    """G maximises log D(G(z)) instead of minimising log(1 - D(G(z))) (§3 of the paper).

    Objective: min_D E sp(-D(x)) + E sp(D(G(z))), min_G E sp(-D(G(z)))
    Departures: optimizer and rates are DCGAN's, since the backbones here are of its kind or younger; the paper's own
    networks are perceptrons (from memory, unchecked).
    Budget: none was read
    Published: FID 6.8 ± 0.5 on MNIST, 26.5 ± 1.6 on Fashion-MNIST, best of a search, `infogan` (Lucic et al. 2018)
    FID 58.5 ± 1.9 on CIFAR-10, 55.0 ± 3.3 on CelebA, likewise; the table was read in its copy by Dai & Wipf 2019;
    that search: 10,000 samples against test images, z ~ U(-1, 1), 15,625 to 101,250 steps of 64 images
    IS 6.27 ± 0.10, FID 56.3 on CIFAR-10, CNN of `sngan`, batch norm, 100,000 updates (Miyato et al. 2018, table 2)
    """

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
