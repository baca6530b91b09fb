"""R3GAN: relativistic pairs, R1 and R2, and plain residual networks (Huang et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, leaky_relu, softplus
from torch.optim import Adam, Optimizer

from ganbench import (
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
    squared_gradient_norms,
)

SLOPE = 0.2
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Config:
    """Options; rates and penalties are those of CIFAR-10 (table 9), where they fall by a cosine over a `burn_in`.

    `burn_in`: its share of the budget, 0.1 in the paper's runs of 200M images. `betas`: the paper's second one rises
    from 0.9 to 0.99 meanwhile. `width`: channels at the full resolution, doubled at each halving up to 8 times as
    many; `blocks` in each stage; `group`: channels of a group of the 3×3 convolutions. The paper's networks are wider.
    """

    lr: Positive = 2e-4
    last_lr: Positive = 5e-5
    penalty: NonNegative = 0.05
    last_penalty: NonNegative = 0.005
    burn_in: Fraction = 0.1
    betas: tuple[Fraction, Fraction] = (0.0, 0.99)
    width: Count = 32
    blocks: Count = 1
    group: Count = 16
    z_dim: Count = 64


class R3GAN(Variant):
    """RpGAN with γ/2 (R1 + R2) in every step of D (eq. 2 and §3); G's step meets other real images than D's.

    Without the paper's augmentation. On points, where there is nothing to convolve, the networks are the backbone's,
    without norm. Samples come from a moving average, whose half-life of 5M images the harness ramps up.
    """

    name = "r3gan"
    summary = "relativistic pairs with two zero-centred penalties, on plain residual networks"
    paper = "Huang et al. 2024, arXiv:2501.05441"
    family = "regulariser"
    own_architecture = True
    ema_half_life_images = 5_000_000.0
    config: Config
    D: nn.Module

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := super().misfit(data):
            return reason
        sides = "8 px or more with a side divisible by 4"
        reason = square_misfit(cls.name, data, sides=sides, fits=lambda side: side >= 8 and side % 4 == 0)
        return reason if data.is_image else None  # points have the backbone's networks

    def build(self, parts: Parts) -> None:
        c = self.config
        if not parts.data.is_image:
            self.G, self.D = parts.generator(), parts.discriminator(norm="none")
            return
        channels, side, _ = parts.data.shape
        self.z_dim, halvings = c.z_dim, halvings_of(side)
        widths = [c.width * min(8, 2**level) for level in range(halvings + 1)]
        self.G = Generator(channels, side // 2**halvings, widths, c)
        self.D = Discriminator(channels, side // 2**halvings, widths, c)

    def images_per_step(self, batch: int) -> int:
        """Return the size of two batches, one for each player."""
        return 2 * batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def fall(self, progress: Tensor) -> Tensor:
        """Return 1 at the start and 0 after the burn-in, by a cosine between."""
        share = (progress / max(self.config.burn_in, 1e-6)).clamp(max=1)
        return 0.5 * (1 + (math.pi * share).cos())

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Let both rates fall to `last_lr`."""
        last = self.config.last_lr / self.config.lr
        factor = last + (1 - last) * self.fall(clock.progress)
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def slope(self, x: Tensor) -> Tensor:
        """Return ½ E‖∇D(x)‖²."""
        return 0.5 * squared_gradient_norms(self.D, x).mean()

    def judge(self, x: Tensor) -> Tensor:
        """Return D's raw output in float32."""
        return cast(Tensor, self.D(x).float())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        c, (real, other) = self.config, batch.real.chunk(2)
        fake = self.sample(len(real)).detach()
        weight = c.last_penalty + (c.penalty - c.last_penalty) * self.fall(clock.progress)
        r1, r2 = self.slope(real), self.slope(fake)
        loss = softplus(self.judge(fake) - self.judge(real)).mean()
        yield Update("D", loss + weight * (r1 + r2), {"r1": r1.detach(), "r2": r2.detach()})
        fake = self.sample(len(other))
        yield Update("G", softplus(self.judge(other).detach() - self.judge(fake)).mean())


class Block(nn.Module):
    """x + F(x), F being 1×1, grouped 3×3 and 1×1 convolutions; F is zero at first (fix-up initialisation)."""

    def __init__(self, width: int, group: int, depth: int) -> None:
        super().__init__()
        inner = 2 * width
        groups = max(1, inner // group)
        self.first = nn.Conv2d(width, inner, 1)
        self.middle = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.last = nn.Conv2d(inner, width, 1, bias=False)
        for layer in (self.first, self.middle):
            draw(layer, depth**-0.25)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, width, H, W]` to the same."""
        y = leaky_relu(self.middle(leaky_relu(self.first(x), SLOPE)), SLOPE)
        return cast(Tensor, x + self.last(y))


class Generator(nn.Module):
    """A learnt small map, scaled by the latents, then stages of blocks with bilinear doublings between them."""

    bilinear: Tensor

    def __init__(self, channels: int, base: int, widths: list[int], c: Config) -> None:
        super().__init__()
        depth = c.blocks * len(widths)
        self.basis = nn.Parameter(torch.randn(widths[-1], base, base))
        weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("bilinear", weights[:, None] * weights)
        self.scale = draw(nn.Linear(c.z_dim, widths[-1], bias=False), 1.0)
        self.stages, self.changes = nn.ModuleList(), nn.ModuleList()
        for number, width in enumerate(reversed(widths)):
            self.stages.append(nn.Sequential(*(Block(width, c.group, depth) for _ in range(c.blocks))))
            below = widths[::-1][number + 1] if number + 1 < len(widths) else channels
            self.changes.append(draw(nn.Conv2d(width, below, 1, bias=False), 1.0))

    def forward(self, z: Tensor) -> Tensor:
        """Map latents to images in [-1, 1]; the paper's are unbounded, and cut off when they are quantised."""
        x = self.basis * self.scale(z)[:, :, None, None]
        for number, (stage, change) in enumerate(zip(self.stages, self.changes, strict=True)):
            if number:
                x = conv_transpose2d(x, self.bilinear.expand(x.shape[1], 1, 4, 4), None, 2, 1, groups=x.shape[1])
            x = change(stage(x))
        return x.clamp(-1, 1) if not self.training else x


class Discriminator(nn.Module):
    """The generator's mirror: stages of blocks with halvings between them, then one weight for each place."""

    def __init__(self, channels: int, base: int, widths: list[int], c: Config) -> None:
        super().__init__()
        depth = c.blocks * len(widths)
        self.enter = draw(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)
        self.stages, self.changes = nn.ModuleList(), nn.ModuleList()
        for width, above in zip(widths, [*widths[1:], 0], strict=True):
            self.stages.append(nn.Sequential(*(Block(width, c.group, depth) for _ in range(c.blocks))))
            if above:
                self.changes.append(draw(nn.Conv2d(width, above, 1, bias=False), 1.0))
        self.basis = draw(nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1], bias=False), 1.0)
        self.head = draw(nn.Linear(widths[-1], 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to raw outputs `[B, 1]`."""
        x = self.enter(x)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number < len(self.changes):
                x = self.changes[number](avg_pool2d(x, 2))  # bilinear, at half the size
        return cast(Tensor, self.head(self.basis(x).flatten(1)))


def draw(layer: Layer, gain: float) -> Layer:
    """Draw weights that keep the size of signals, times a gain; biases are zero."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def halvings_of(side: int) -> int:
    """Return how often a side is halved, down to 4 to 7 px."""
    halvings = 0
    while side % 2 == 0 and side > 7:
        side, halvings = side // 2, halvings + 1
    return halvings


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [R3GAN]
