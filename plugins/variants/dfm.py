"""DFM: denoising feature matching (Warde-Farley & Bengio, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
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
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options. `denoising` and `adversarial` weigh the two terms of G's loss.

    The squared distance is a mean over features, so 0.03 here is the paper's 0.03/n_h; hvy's public program has 1 and
    0.03 instead. `corruption`: deviation of the noise on features, which goes in a straight line to `final_corruption`
    at the end of the budget. `depth`, `width`: of the denoiser's hidden layers.
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    denoising: NonNegative = 0.03
    adversarial: NonNegative = 1.0
    corruption: NonNegative = 1.0
    final_corruption: NonNegative = 1.0
    depth: Count = 10
    width: Count = 1024


class DFM(Variant):
    """G pulls the features φ of its samples to where a denoiser r of real features would put them (§3).

    φ is D's trunk, trained as in the GAN. r minimises E ‖φ(x) - r(φ(x) + noise)‖² with φ fixed; in G's loss
    ‖φ(G(z)) - r(φ(G(z)))‖² the denoised features are constants, so that its gradient points along r(φ) - φ, an
    estimate of the slope of the log density of real features. D moves first, then r, then G.
    """

    name = "dfm"
    summary = "a denoiser of real features tells the generator where features ought to be"
    paper = "Warde-Farley & Bengio 2017, ICLR"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")
        assert isinstance(self.D.head, nn.Linear)
        features, width = self.D.head.in_features, self.config.width
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([features, *[width] * self.config.depth]):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.R = nn.Sequential(*layers, nn.Linear(width, features))

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {player: Adam(getattr(self, player).parameters(), lr, betas) for player in ("G", "D", "R")}

    @torch.no_grad()
    def constant(self, network: nn.Module, x: Tensor) -> Tensor:
        """Return what a network makes of `x`, without a gradient."""
        output: Tensor = network(x)
        return output.float()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake)))
        features = self.constant(self.D.trunk, batch.real)
        deviation = config.corruption + (config.final_corruption - config.corruption) * clock.progress
        corrupted = features + deviation * torch.randn_like(features)
        yield Update("R", mse_loss(self.R(corrupted).float(), features))
        features = self.D.trunk(self.sample(n)).float()
        distance = mse_loss(features, self.constant(self.R, features))
        loss = config.adversarial * nonsaturating_loss(self.D.head(features).float()) + config.denoising * distance
        yield Update("G", loss, {"distance": distance.detach()})


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DFM]
