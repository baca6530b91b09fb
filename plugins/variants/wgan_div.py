"""WGAN-div: the Wasserstein divergence (Wu et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
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
    hookimpl,
    points_between,
    squared_gradient_norms,
)


@dataclass(frozen=True)
class Config:
    """Options. `penalty` and `power` are k and p of the paper, which finds 2 and 6 best (§4); the rest is WGAN-GP's."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    penalty: NonNegative = 2.0
    power: Positive = 6.0


class WGANDiv(Variant):
    """No Lipschitz bound: k E‖∇D(x̂)‖^p is part of the divergence that D maximises (eq. 9 and 11).

    x̂ lies on the line between a real and a generated sample. D is given the larger value on real samples, as
    everywhere here, where the paper's has the smaller. D is layer-normalised, as batch norm would mix the samples.
    """

    name = "wgan-div"
    summary = "Wasserstein divergence: a power of the critic's gradient norm, bound to no constant"
    paper = "Wu et al. 2018, arXiv:1712.01026"
    family = "wasserstein"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def slope(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E‖∇D(x̂)‖^p."""
        squares = squared_gradient_norms(self.D, points_between(real, fake))
        return (squares + 1e-12).pow(self.config.power / 2).mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        slope = self.slope(batch.real, fake)
        gap = self.D(batch.real).mean() - self.D(fake).mean()
        log = {"gap": gap.detach(), "penalty": slope.detach()}
        yield Update("D", self.config.penalty * slope - gap, log)
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANDiv]
