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
    mean_over_ranks,
    square_misfit,
    whole_size,
)

STALLED = 0.99
"""A window's mean measure above this share of the last window's is no progress."""


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (§4.1, as quoted in public programs; trainer.py and config.py of
        carpedm20/BEGAN-tensorflow, the port, have 8e-5).
    betas: of Adam, TensorFlow's own; the port names 0.5 and 0.999, but hands neither to its optimizers (trainer.py).
    diversity: γ, how large the error on fakes is to be beside that on real images (§3.3).
    balance_rate: λ_k, the step of k (config.py).
    decay: "stall" halves the rate where the convergence measure has stalled, which is the paper's rule as quoted there:
        its mean over a window is above 0.99 of that over the window before (the port has this test, commented out);
        "fixed" halves it after every window, as the port does; "none" never does (trainer.py).
    window: real images in one; 100,000 updates of 16 in the port (config.py).
    last_lr: where halving ends (config.py).
    networks: the "paper"'s as in the port, or those of the "backbone", with which Lucic et al. 2018 trained it (ours).
    filters: n, of a convolution at full resolution; 128 in the port, which is much for a CPU (ours).
    hidden: the length of z and of D's code, at most a quarter of the image (config.py).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    diversity: NonNegative = 0.5
    balance_rate: NonNegative = 1e-3
    decay: Literal["stall", "fixed", "none"] = "stall"
    window: Count = 1_600_000
    last_lr: Positive = 2e-5
    networks: Literal["paper", "backbone"] = "paper"
    filters: Count = 16
    hidden: Count = 64


class BEGAN(Variant):
    """D is an autoencoder and its error the energy; k holds the errors on fake and real images in balance.

    D moves before G's error is taken, where the paper leaves the order open and the port moves both at once.

    Objective: min_D ℓ(x) - k ℓ(G(z)), min_G ℓ(G(z)), k ← k + λ (γ ℓ(x) - ℓ(G(z))) in [0, 1], ℓ(x) = E |x - D(x)| (§3.4)
    Departures: no skip connections and no vanishing residuals, as in the port, which has them in a file that it does
    not use (layers.py); 16 filters instead of 128; first maps of 7 to 15 px where a side does not halve to 8; finished
    images are cut off at -1 and 1; on points the networks of the backbone. k moves by a share λ of an error in a step,
    so that a run of a few thousand steps leaves it near 0 and G at few images: those want a larger `balance_rate`.
    Budget: 500,000 updates of 16 images, 8M images (config.py of the port)
    Published: FID 13.1 ± 1.0 on MNIST, 22.9 ± 0.9 on Fashion-MNIST, 71.4 ± 1.6 on CIFAR-10 and 38.9 ± 0.9 on CelebA, on
    the infogan backbone, the best of a search, 10,000 fakes and test images (Lucic et al. 2018, as transcribed by Dai &
    Wipf).
    """

    name = "began"
    summary = "an autoencoder as discriminator, its errors on real and fake held in balance"
    paper = "Berthelot et al. 2017, arXiv:1703.10717"
    family = "energy"
    own_architecture = True
    paper_images = 8_000_000
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
        self.register_buffer("last", torch.tensor(torch.finfo(torch.float32).max))  # the first window is progress

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
        drift = mean_over_ranks(self.config.diversity * real_error.detach() - fake_error.detach())
        measure = mean_over_ranks(real_error.detach()) + drift.abs()
        yield Update("G", fake_error, {"k": self.k.clone(), "convergence": measure, "real_error": real_error.detach()})
        self.k.add_(self.config.balance_rate * drift).clamp_(0, 1)
        self.slow_down(whole_size(n), measure)

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
    """Make the decoder, which G is too: `n` filters everywhere, nearest-neighbour doublings, a linear end."""
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
