"""Geometric GAN: the hinge loss (Lim & Ye, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    Norm,
    Parts,
    Positive,
    Update,
    Variant,
    hinge_discriminator_loss,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of DCGAN, whose networks the paper trains. `norm`: of D."""

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    norm: Norm = "batch"
    critic_steps: Count = 1


class Hinge(Variant):
    """D keeps real and fake a margin apart, as a support vector machine does; G crosses the hyperplane (eq. 9, 10)."""

    name = "hinge"
    summary = "a margin between real and fake, beyond which nothing is learnt"
    paper = "Lim & Ye 2017, arXiv:1705.02894"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", hinge_discriminator_loss(self.D(batch.real), self.D(fake)))
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [Hinge]
