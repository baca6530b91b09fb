"""Feature matching: fakes whose mean features are those of the data (Salimans et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Discriminator,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    WeightNorm,
    discriminator_loss,
    hardened,
    hookimpl,
    mean_over_ranks,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players; theirs falls to zero over the last third of the run, here it stays
        (train_cifar_feature_matching.py of openai/improved-gan, "the program" below).
    betas: of Adam (the program).
    distance: "squared" is ‖·‖₂² of the paper, "absolute" the mean over features of |·| of the program (§3.1).
    norm: of D, "none", or "weight", the program's: weight norm, scaled by the first batch. Batch norm would take away
        the means that are to be matched ("none" is ours).
    input_dropout: share of D's input set to zero, 0.2 in the program (0 is ours, as the default of `norm`).
    noise: deviation of Gaussian noise on D's input, 0.3 in train_mnist_feature_matching.py (0 is ours).
    dropout: share of the maps behind D's strided convolutions set to zero, 0.5 in the program (0 is ours).
    """

    lr: Positive = 3e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    distance: Literal["squared", "absolute"] = "squared"
    norm: Literal["none", "weight"] = "none"
    input_dropout: Fraction = 0.0
    noise: NonNegative = 0.0
    dropout: Fraction = 0.0


class FeatureMatching(Variant):
    """G matches the mean of D's features f below its last layer; D is the GAN's. As in the authors' program, G meets
    real images that the D update before has not, so a step is served two batches.

    Objective: min_D -E log σ(D(x)) - E log(1 - σ(D(G(z)))), min_G ‖E f(x) - E f(G(z))‖₂² (§3.1)
    Departures: without the ten classes of D and their labels, which the program trains semi-supervised; the backbone's
    networks, without weight norm, noise and dropout unless asked for; constant rates; latents from N(0, I), where the
    program has U(0, 1).
    Budget: 1,200 epochs of CIFAR-10 in batches of 100, 60M images and as many again for G (the program)
    Published: no number under a protocol that can be run here; the paper's are error rates of semi-supervised learning.
    """

    name = "feature-matching"
    summary = "the generator matches the mean features of the discriminator"
    paper = "Salimans et al. 2016, arXiv:1606.03498"
    family = "collapse"
    paper_images = 120_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        c, weights = self.config, self.config.norm == "weight"
        single = parts.discriminator(norm="none")
        trunk = hardened(
            single.trunk, weight_norm=weights, dropout=c.dropout, noise=c.noise, input_dropout=c.input_dropout
        )
        head = single.head
        if weights:
            assert isinstance(head, nn.Linear)
            head = WeightNorm(head, deviation=0.1, trained=True)
        self.G, self.D = parts.generator(), Discriminator(trunk, head)

    def images_per_step(self, batch: int) -> int:
        """Return the size of two batches, one for each player."""
        return 2 * batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the distance between the mean features of two batches."""
        with torch.no_grad():
            target = mean_over_ranks(self.D.trunk(real).float().mean(0))
        difference = mean_over_ranks(self.D.trunk(fake).float().mean(0)) - target
        return difference.abs().mean() if self.config.distance == "absolute" else difference.square().sum()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        real, other = batch.real.chunk(2)
        fake = self.sample(len(real)).detach()
        yield Update("D", discriminator_loss(self.D(real), self.D(fake)))
        yield Update("G", self.distance(other, self.sample(len(other))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [FeatureMatching]
