"""ALI: adversarially learned inference (Dumoulin et al., 2017)."""

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
    """Options; rate and `betas` are those of the authors' code.

    `deviation`: of the Gaussian q(z|x) around the encoder's mean, "learned" as a function of x, "unit", or "zero" for a
    code without noise. `width`: of D's layers above the sample's own.
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    deviation: Literal["learned", "unit", "zero"] = "learned"
    width: Count = 512


class ALI(Variant):
    """D tells pairs (x, E(x)) from pairs (G(z), z); G and E together make them alike (algorithm 1).

    G and E minimise D's loss with the pairs exchanged, which does not saturate. D moves first, and the pairs of G and E
    are drawn anew, where the paper updates all from one draw. G is deterministic, as in the authors' code for images,
    and the two kinds of pairs pass D apart, where that code normalises them in one batch.
    """

    name = "ali"
    summary = "an encoder and the generator, one discriminator of pairs of sample and latent"
    paper = "Dumoulin et al. 2017, arXiv:1606.00704"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        outputs, width = parts.z_dim * (2 if self.config.deviation == "learned" else 1), self.config.width
        self.G, self.E = parts.generator(), parts.encoder(outputs=outputs)
        self.D = JointDiscriminator(parts.discriminator(outputs=width, norm="batch"), parts.z_dim, width)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        both = [*self.G.parameters(), *self.E.parameters()]
        return {"G": Adam(both, lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def infer(self, x: Tensor) -> Tensor:
        """Draw a latent for each sample from q(z|x)."""
        code: Tensor = self.E(x).float()
        if self.config.deviation == "zero":
            return code
        if self.config.deviation == "unit":
            return code + torch.randn_like(code)
        mean, log_deviation = code.chunk(2, 1)
        return mean + log_deviation.exp() * torch.randn_like(mean)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.infer(x).detach(), self.G(z).detach()
        yield Update("D", discriminator_loss(self.D(x, inferred), self.D(fake, z)))
        z = self.noise(len(x))
        inferred, fake = self.infer(x), self.G(z)
        yield Update("G", discriminator_loss(self.D(fake, z), self.D(x, inferred)))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [ALI]
