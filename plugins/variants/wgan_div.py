"""WGAN-div: the Wasserstein divergence (Wu et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

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
    Setting,
    Update,
    Variant,
    dequantise,
    hookimpl,
    points_between,
    squared_gradient_norms,
)


@dataclass(frozen=True)
class Config:
    """Options; k and p are those of the paper, the rest is WGAN-GP's.

    The authors' program has other numbers: `penalty=10`, `lr=2e-4` and `critic_steps=4` make its setting.

    lr: learning rate of both players (as WGAN-GP; 2e-4 in the authors' wgan_div.py).
    betas: of Adam (the authors' wgan_div.py).
    critic_steps: updates of D before each of G (as WGAN-GP; four in the authors' wgan_div.py).
    penalty: k (§4 finds 2 best; the authors' wgan_div.py has 10).
    power: p (§4 finds 6 best, which wgan_div.py has too).
    decay: let both rates fall linearly to zero over the whole budget (ours, to compare with WGAN-GP's recipe).
    norm: of D, whose samples must not mix (layer norm in the authors' wgan_div.py).
    generator_batch: G's batch as a multiple of D's (ours, to compare with WGAN-GP's recipe).
    dequantise: add noise of one level to real images (ours, to compare with WGAN-GP's recipe).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    penalty: NonNegative = 2.0
    power: Positive = 6.0
    decay: bool = False
    norm: Literal["layer", "instance", "spectral", "none"] = "layer"
    generator_batch: Count = 1
    dequantise: bool = False


class WGANDiv(Variant):
    """No Lipschitz bound: a power of the slope is part of the divergence that D maximises (eq. 9 and 11).

    The slope is taken on the line between a real and a generated sample. D is layer-normalised, as batch norm would mix
    the samples.

    Objective: min_D E D(G(z)) - E D(x) + k E‖∇D(x̂)‖^p, min_G -E D(G(z))
    Departures: D is given the larger value on real samples, as everywhere here, where the paper's has the smaller. The
    authors' program has other constants than the paper, see the options.
    Budget: 200,000 updates of G after four of D with 64 images each, 51.2M images (the authors' wgan_div.py)
    Published: no number that was read under a protocol that can be run here
    """

    name = "wgan-div"
    summary = "Wasserstein divergence: a power of the critic's gradient norm, bound to no constant"
    paper = "Wu et al. 2018, arXiv:1712.01026"
    family = "wasserstein"
    paper_images = 51_200_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Let both rates fall linearly to zero."""
        falling = {"lr": self.config.lr * (1 - clock.progress)}
        return {"G": falling, "D": falling} if self.config.decay else {}

    def slope(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E‖∇D(x̂)‖^p."""
        squares = squared_gradient_norms(self.D, points_between(real, fake))
        return (squares + 1e-12).pow(self.config.power / 2).mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        real = dequantise(batch.real) if config.dequantise else batch.real
        fake = self.sample(n).detach()
        penalty = self.slope(real, fake)
        gap = self.D(real).mean() - self.D(fake).mean()
        log = {"gap": gap.detach(), "penalty": penalty.detach()}
        yield Update("D", config.penalty * penalty - gap, log)
        if (clock.step + 1) % config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n * config.generator_batch)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANDiv]
