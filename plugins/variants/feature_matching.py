"""Feature matching: fakes whose mean features are those of the data (Salimans et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, Parts, Positive, Update, Variant, discriminator_loss, hookimpl


@dataclass(frozen=True)
class Config:
    """Options; rate and `betas` are those of the authors' code for CIFAR-10.

    `distance`: "squared" is the paper's ‖·‖₂², "absolute" the mean over features of |·|, as in that code.
    """

    lr: Positive = 3e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    distance: Literal["squared", "absolute"] = "squared"


class FeatureMatching(Variant):
    """G minimises ‖E f(x) - E f(G(z))‖₂², f being D's features below its last layer (§3.1); D is the GAN's.

    As in the authors' code, G meets real images that the D update before has not, so a step is served two batches. D
    has no batch norm, which would take away the means that are to be matched; the authors' has weight norm.
    """

    name = "feature-matching"
    summary = "the generator matches the mean features of the discriminator"
    paper = "Salimans et al. 2016, arXiv:1606.03498"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def images_per_step(self, batch: int) -> int:
        """Return the size of two batches, one for each player."""
        return 2 * batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the distance between the mean features of two batches."""
        with torch.no_grad():
            target = self.D.trunk(real).float().mean(0)
        difference = self.D.trunk(fake).float().mean(0) - target
        return difference.abs().mean() if self.config.distance == "absolute" else difference.square().sum()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        real, other = batch.real.chunk(2)
        fake = self.sample(len(real)).detach()
        yield Update("D", discriminator_loss(self.D(real), self.D(fake)))
        yield Update("G", self.distance(other, self.sample(len(other))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [FeatureMatching]
