"""WGAN-LP: a one-sided gradient penalty (Petzka et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu
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
    gradient_norms,
    hookimpl,
    points_between,
)


@dataclass(frozen=True)
class Config:
    """Options. λ and the critic steps are the paper's, which has 10 of these; the optimizers are WGAN-GP's."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 10
    penalty: NonNegative = 10.0


class WGANLP(Variant):
    """WGAN-GP where only slopes above one cost: λ E max(0, ‖∇D(x̂)‖₂ - 1)² (eq. 8).

    x̂ lies between a real and a generated sample, as in WGAN-GP. The critic is layer-normalised, as batch norm would
    mix the samples.
    """

    name = "wgan-lp"
    summary = "Wasserstein distance, the critic's gradient norm kept at one or below"
    paper = "Petzka et al. 2018, arXiv:1709.08894"
    family = "wasserstein"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def excess(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E max(0, ‖∇D(x̂)‖ - 1)²."""
        return relu(gradient_norms(self.D, points_between(real, fake)) - 1).square().mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        penalty = self.excess(batch.real, fake)
        gap = self.D(batch.real).mean() - self.D(fake).mean()
        log = {"wasserstein": gap.detach(), "penalty": penalty.detach()}
        yield Update("D", self.config.penalty * penalty - gap, log)
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANLP]
