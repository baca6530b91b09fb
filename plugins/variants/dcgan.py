"""DCGAN: deep convolutional networks, as the paper draws them (Radford et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    DataSpec,
    Fraction,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    draw_normal,
    hookimpl,
    nonsaturating_loss,
    square_misfit,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (§4).
    betas: of both Adams (§4).
    width: channels at half the resolution, doubled at every halving (figure 1; soumith/dcgan.torch, main.lua).
    z_dim: numbers in a latent (figure 1; soumith/dcgan.torch, main.lua).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    width: Count = 128
    z_dim: Count = 100


class DCGAN(Variant):
    """The non-saturating GAN with the networks of figure 1: 5×5 kernels of stride 2, batch norm, z ~ U(-1, 1).

    D mirrors G. Neither G's last layer nor D's first has batch norm; all weights are drawn from N(0, 0.02). The
    variant `gan` on the backbone `dcgan` is the form of the authors' code, with 4×4 kernels and half the width.

    Objective: min_D E sp(-D(x)) + E sp(D(G(z))), min_G E sp(-D(G(z)))
    Departures: None known from the paper. The authors' program, in an early version, has 4×4 kernels, z ~ N(0, I),
    scales of batch norm drawn from N(1, 0.02), and D sees 64 real and 64 generated images at once; batches here are
    real or generated, so that each has statistics of its own.
    Budget: 25 epochs, of whatever the data are, in batches of 128 of which half are real (soumith/dcgan.torch,
    main.lua)
    Published: no number under a protocol that can be run here
    """

    name = "dcgan"
    summary = "the GAN with the 5×5 convolutional networks of the paper"
    paper = "Radford et al. 2016, arXiv:1511.06434"
    own_architecture = True
    config: Config

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        reason = square_misfit(
            cls.name,
            data,
            sides="8 to 128 px with a side of 4 to 7 times a power of two",
            fits=lambda side: 8 <= side <= 128 and split(side)[0] <= 7,
        )
        return reason or super().misfit(data)

    def build(self, parts: Parts) -> None:
        channels, side, _ = parts.data.shape
        self.z_dim = self.config.z_dim
        base, levels = split(side)
        widths = [self.config.width * 2**level for level in range(levels)]
        size = widths[-1] * base**2
        up: list[nn.Module] = [nn.Linear(self.z_dim, size, bias=False), nn.Unflatten(1, (widths[-1], base, base))]
        down: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, 2, 2), nn.LeakyReLU(0.2)]
        for low, high in zip(widths[-2::-1], widths[:0:-1], strict=True):
            up += [nn.BatchNorm2d(high), nn.ReLU(), nn.ConvTranspose2d(high, low, 5, 2, 2, 1, bias=False)]
        for low, high in pairwise(widths):
            down += [nn.Conv2d(low, high, 5, 2, 2, bias=False), nn.BatchNorm2d(high), nn.LeakyReLU(0.2)]
        last = nn.ConvTranspose2d(widths[0], channels, 5, 2, 2, 1)
        self.G = nn.Sequential(*up, nn.BatchNorm2d(widths[0]), nn.ReLU(), last, nn.Tanh()).apply(draw_normal)
        self.D = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, 1)).apply(draw_normal)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def judge(self, x: Tensor) -> Tensor:
        """Return D's logits in float32."""
        return cast(Tensor, self.D(x).float())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.judge(batch.real), self.judge(fake)))
        yield Update("G", nonsaturating_loss(self.judge(self.sample(n))))


def split(side: int) -> tuple[int, int]:
    """Write a side as base · 2^levels, a base of 7 at most, reached in one level at least."""
    base, levels = side, 0
    while base % 2 == 0 and (base > 7 or levels < 1):
        base, levels = base // 2, levels + 1
    return base, levels


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DCGAN]
