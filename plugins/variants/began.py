"""BEGAN: boundary equilibrium GAN (Berthelot et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from ganbench import (
    Autoencoder,
    Batch,
    Clock,
    Count,
    DataSpec,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Setting,
    Update,
    Variant,
    hookimpl,
    square_misfit,
)

STALLED = 0.99
"""A window's mean measure above this share of the last window's is no progress."""


@dataclass(frozen=True)
class Config:
    """Options."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    diversity: NonNegative = 0.5
    balance_rate: NonNegative = 1e-3
    decay: Literal["stall", "fixed", "none"] = "stall"
    window: Count = 1_600_000
    last_lr: Positive = 2e-5
    networks: Literal["paper", "backbone"] = "paper"
    filters: Count = 32
    hidden: Count = 64


class BEGAN(Variant):
    """D is an autoencoder and its error the energy."""

    name = "began"
    summary = "an autoencoder as discriminator, its errors on real and fake held in balance"
    paper = "Berthelot et al. 2017, arXiv:1703.10717"
    family = "energy"
    own_architecture = True
    config: Config
    k: Tensor
    lr: Tensor
    seen: Tensor
    total: Tensor
    last: Tensor

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := super().misfit(data):
            return reason
        sides = "8 px or more that halve to 7 to 15 px"
        reason = square_misfit(cls.name, data, sides=sides, fits=lambda side: side >= 8 and split(side)[0] <= 15)
        return reason if data.is_image else None  # points have the backbone's networks

    def build(self, parts: Parts) -> None:
        if parts.data.is_image and self.config.networks == "paper":
            channels, side, _ = parts.data.shape
            n = self.config.filters
            self.z_dim = min(self.config.hidden, math.prod(parts.data.shape) // 4)  # else small images pass unchanged
            encoder = downward(channels, side, n, self.z_dim)
            self.G, decoder = (upward(self.z_dim, side, n, channels) for _ in range(2))
            self.D = Autoencoder(encoder, decoder)
        else:
            self.G, self.D = parts.generator(), parts.autoencoder()
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("lr", torch.tensor(self.config.lr))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("last", torch.tensor(math.inf))

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Set the rate of both players to what is left of it."""
        return {} if self.config.decay == "none" else {player: {"lr": self.lr} for player in ("G", "D")}

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw samples; finished images are cut off at -1 and 1, for the paper's G ends linear as D does."""
        samples = super().sample(n)
        return samples.clamp(-1, 1) if self.data.is_image and not self.training else samples

    def error(self, x: Tensor) -> Tensor:
        """Return E ℓ(x), the mean absolute error of the reconstruction over pixels and samples (eq. 1, η = 1)."""
        return l1_loss(self.D(x).float(), x.float())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        real_error, fake_error = self.error(batch.real), self.error(self.sample(n).detach())
        yield Update("D", real_error - self.k * fake_error)
        fake_error = self.error(self.sample(n))
        drift = self.config.diversity * real_error.detach() - fake_error.detach()
        measure = real_error.detach() + drift.abs()
        yield Update("G", fake_error, {"k": self.k.clone(), "convergence": measure, "real_error": real_error.detach()})
        self.k.add_(self.config.balance_rate * drift).clamp_(0, 1)
        self.slow_down(n, measure)

    @torch.no_grad()
    def slow_down(self, n: int, measure: Tensor) -> None:
        """Halve the rate at the end of a window that has made no progress; without asking the device."""
        self.seen.add_(n)
        self.total.add_(n * measure)
        full, mean = self.seen >= self.config.window, self.total / self.seen
        halved = full & (mean > STALLED * self.last) if self.config.decay == "stall" else full
        floor = min(self.config.last_lr, self.config.lr)
        self.lr.copy_(torch.where(halved, (self.lr / 2).clamp_min(floor), self.lr))
        self.last.copy_(torch.where(full, mean, self.last))
        self.seen.mul_(~full)
        self.total.mul_(~full)


def split(side: int) -> tuple[int, int]:
    """Write a side as base · 2^levels, halving as long as 7 px are left."""
    levels = 0
    while side % 2 == 0 and side >= 14:
        side, levels = side // 2, levels + 1
    return side, levels


def upward(inputs: int, side: int, n: int, channels: int) -> nn.Module:
    """Make the decoder (figure 1): `n` filters everywhere, nearest-neighbour doublings, a linear end."""
    base, levels = split(side)
    layers: list[nn.Module] = [nn.Linear(inputs, n * base**2), nn.Unflatten(1, (n, base, base))]
    for level in range(levels + 1):
        layers += [nn.Upsample(scale_factor=2)] if level else []
        layers += [nn.Conv2d(n, n, 3, padding=1), nn.ELU(), nn.Conv2d(n, n, 3, padding=1), nn.ELU()]
    return nn.Sequential(*layers, nn.Conv2d(n, channels, 3, padding=1)).apply(initialise)


def downward(channels: int, side: int, n: int, outputs: int) -> nn.Module:
    """Make the encoder: `n` filters more after each convolution of stride 2."""
    base, levels = split(side)
    layers: list[nn.Module] = [nn.Conv2d(channels, n, 3, padding=1), nn.ELU()]
    widths = [n, *(n * (level + 1) for level in range(levels + 1))]
    for level, (below, above) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(below, below, 3, 2, 1), nn.ELU()] if level else []
        layers += [nn.Conv2d(below, above, 3, padding=1), nn.ELU(), nn.Conv2d(above, above, 3, padding=1), nn.ELU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * base**2, outputs)).apply(initialise)


def initialise(layer: nn.Module) -> None:
    """Draw weights by Glorot and Bengio's rule, the default of the program's layers; biases are zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [BEGAN]
