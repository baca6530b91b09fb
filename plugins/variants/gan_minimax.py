"""GAN as a minimax game, with the saturating generator loss (Goodfellow et al., 2014)."""

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
    saturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (Radford et al. 2016, §4).
    betas: of both Adams (Radford et al. 2016, §4).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)


class MinimaxGAN(Variant):
    """G minimises what D maximises (eq. 1 of the paper), so its gradient vanishes where D is sure of the fakes.

    Objective: min_D E sp(-D(x)) + E sp(D(G(z))), min_G -E sp(D(G(z)))
    Departures: optimizer and rates are DCGAN's, since the backbones here are of its kind or younger; the paper's own
    networks are perceptrons (from memory, unchecked).
    Budget: none was read
    Published: FID 9.8 ± 0.9 on MNIST, 29.6 ± 1.6 on Fashion-MNIST, best of a search, `infogan` (Lucic et al. 2018)
    FID 72.7 ± 3.6 on CIFAR-10, 65.6 ± 4.2 on CelebA, likewise; the table was read in its copy by Dai & Wipf 2019;
    that search: 10,000 samples against test images, z ~ U(-1, 1), 15,625 to 101,250 steps of 64 images
    """

    name = "gan-minimax"
    summary = "the original GAN as a minimax game, with the saturating generator loss"
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
        yield Update("G", saturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MinimaxGAN]
