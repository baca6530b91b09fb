"""DFM: denoising feature matching (Warde-Farley & Bengio, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Discriminator,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    draw_normal,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of all players (train.py of hvy/chainer-gan-denoising-feature-matching, the public program, not
        the authors').
    betas: of Adam (train.py there).
    denoising: weight of the second term of G's loss. The squared distance is a mean over features, so that 0.03 is the
        0.03/n_h of a sum; the program has 1 (the paper, from memory, unchecked).
    adversarial: weight of the first; the program has 0.03, so that the two look swapped (the paper, from memory,
        unchecked).
    corruption: deviation of the noise on features (updater.py there).
    final_corruption: the same at the end of the budget, reached in a straight line. The program does not anneal it and
        says that the paper does (updater.py and readme there).
    depth: hidden layers of the denoiser; the program has nine, the first without norm (the paper, from memory,
        unchecked).
    width: of φ, which is linear on top of the backbone's features, and of the denoiser's hidden layers, which so are no
        bottleneck (models.py there).
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

    φ is D's layer below the last, trained as in the GAN. r sees it fixed. In G's loss the denoised features are
    constants, so that its gradient points along r(φ) - φ, an estimate of the slope of the log density of real features.
    D moves first, then r, then G.

    Objective: min_D of the GAN, min_r E ‖φ(x) - r(φ(x) + noise)‖², min_G -E log σ(D(G(z))) + λ ‖φ(G(z)) - r(φ(G(z)))‖²
    Departures: the public program moves all three at once and lets the gradient of G's loss pass r. One set of batch
    norm's running statistics in r, as in that program; the paper keeps those of real and generated data apart (its
    readme). The backbone's networks below φ.
    Budget: 100 epochs of CIFAR-10, 5M images, in the public program (its train.py); the paper's is not known here
    Published: IS 7.72 ± 0.13 on CIFAR-10, as quoted by Miyato et al. 2018 (table 2); the protocol was not read.
    """

    name = "dfm"
    summary = "a denoiser of real features tells the generator where features ought to be"
    paper = "Warde-Farley & Bengio 2017, ICLR"
    family = "collapse"
    paper_images = 5_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, single, width = parts.generator(), parts.discriminator(norm="batch"), self.config.width
        assert isinstance(single.head, nn.Linear)
        phi = nn.Linear(single.head.in_features, width)
        nn.init.normal_(phi.weight, 0, phi.in_features**-0.5)  # φ as large as what is below: the noise is of size 1
        nn.init.zeros_(phi.bias)
        self.D = Discriminator(nn.Sequential(single.trunk, phi), nn.Linear(width, 1).apply(draw_normal))
        layers: list[nn.Module] = []
        for _ in range(self.config.depth):
            layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        self.R = nn.Sequential(*layers, nn.Linear(width, width))

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
