"""WGAN-GP: Wasserstein GAN with gradient penalty (Gulrajani et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    gradient_penalty,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's Algorithm 1."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    penalty: NonNegative = 10.0


class WGANGP(Variant):
    """The critic is layer-normalised: batch norm would mix the samples that the penalty treats one by one (§4)."""

    name = "wgan-gp"
    summary = "Wasserstein distance, the critic's gradient norm pulled to one"
    paper = "Gulrajani et al. 2017, arXiv:1704.00028"
    family = "wasserstein"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        penalty = gradient_penalty(self.D, batch.real, fake)
        gap = self.D(batch.real).mean() - self.D(fake).mean()
        log = {"wasserstein": gap.detach(), "penalty": penalty.detach()}
        yield Update("D", self.config.penalty * penalty - gap, log)
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANGP]
