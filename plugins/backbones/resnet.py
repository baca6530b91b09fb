"""The residual networks of SNGAN (Miyato et al., 2018, tables 4 to 6)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ganbench import (
    Autoencoder,
    Backbone,
    Count,
    DataSpec,
    MirroredParts,
    Norm,
    Parts,
    SquareBackbone,
    hookimpl,
    norm_of_maps,
)


class Plan(NamedTuple):
    """Channels in widths: of G before and after each doubling, of D after each block; how many of D's blocks halve."""

    up: tuple[int, ...]
    down: tuple[int, ...]
    halvings: int


PLANS = {
    32: Plan((4, 4, 4, 4), (2, 2, 2, 2), 2),
    48: Plan((8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    64: Plan((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
    128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}
"""By side: CIFAR-10 (table 4), STL-10 (table 5), and ImageNet at 128 px (table 6), which the authors' Chainer code has
for 64 px as well (pfnet-research/sngan_projection). kwotsin/mimicry has the same four."""


@dataclass(frozen=True)
class Config:
    """Options; those of WGAN-GP's networks for CIFAR-10 are `generator_width=32` and `pool=mean`.

    width: a quarter of G's and half of D's channels at 32 px; at other sides, those at full resolution (table 4).
    generator_width: the same of G alone, where it is to be narrower or wider; None is `width` (ours; WGAN-GP's
        gan_cifar_resnet.py has 128 channels in both).
    pool: "sum" over all pixels at the end of D (table 4), or their "mean" (WGAN-GP's gan_cifar_resnet.py).
    z_dim: numbers of a latent (table 4).
    code: width of the code of an autoencoder, at most; a quarter of the image is never passed (ours).
    """

    width: Count = 64
    generator_width: Count | None = None
    pool: Literal["sum", "mean"] = "sum"
    z_dim: Count = 128
    code: Count = 64


class ResNetParts(MirroredParts):
    """Residual blocks, activated before their convolutions; nearest-neighbour doubling, halving by the mean of 2×2 px.

    Layers and initial weights are those of the authors' Chainer code, with a bias in D's last layer at every side
    (theirs has none at 32 px). In the paper D has spectral norm. Where the variant wants another, it stands before
    each activation inside the blocks but the first, as in the residual critic of WGAN-GP (Gulrajani et al. 2017).
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        plan = PLANS[self.side]
        self.up = [(config.generator_width or config.width) * factor for factor in plan.up]
        self.down = [config.width * factor for factor in plan.down]
        self.pool = config.pool
        self.halvings = plan.halvings
        self.base, self.last = self.side // 2 ** (len(plan.up) - 1), self.side // 2**plan.halvings
        self.features = self.down[-1]

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        first, last = self.up[0], self.up[-1]
        return [
            self.linear(inputs, first * self.base**2),
            nn.Unflatten(1, (first, self.base, self.base)),
            *(doubling(above, below, norm) for above, below in pairwise(self.up)),
            *(norm_of_maps(norm, last), nn.ReLU(), glorot(nn.Conv2d(last, self.channels, 3, padding=1))),
        ]

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        return [*self.to_maps(channels, norm), GlobalSum() if self.pool == "sum" else GlobalMean()]

    def to_maps(self, channels: int, norm: Norm) -> list[nn.Module]:
        blocks = [
            block(below, above, norm, halve=number < self.halvings)
            for number, (below, above) in enumerate(pairwise(self.down), 1)
        ]
        return [first_halving(channels, self.down[0]), *blocks, nn.ReLU()]

    def autoencoder(self) -> Autoencoder:
        """Make an autoencoder whose code is read from D's last maps and not from their sums, which know no place."""
        to_code = [nn.Flatten(), self.linear(self.features * self.last**2, self.code)]
        encoder = nn.Sequential(*self.to_maps(self.channels, "none"), *to_code)
        return Autoencoder(encoder, nn.Sequential(*self.upward(self.code, "none")))

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return glorot(nn.Linear(inputs, outputs))

    def initialise(self, layer: nn.Module) -> None:
        """Leave a layer as it is: its weights were drawn when it was made, by its place in the block."""


class Sum(nn.Module):
    """The sum of a residual path and a shortcut."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.residual(x) + self.shortcut(x)
        return output


class GlobalSum(nn.Module):
    """The sum over all pixels, `[B, C, H, W] -> [B, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


class GlobalMean(nn.Module):
    """The mean over all pixels, `[B, C, H, W] -> [B, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def doubling(inputs: int, outputs: int, norm: Norm) -> nn.Module:
    """Make G's block, which doubles the side before its first convolution."""
    residual = nn.Sequential(
        *(norm_of_maps(norm, inputs), nn.ReLU(), nn.Upsample(scale_factor=2), residual_convolution(inputs, outputs)),
        *(norm_of_maps(norm, outputs), nn.ReLU(), residual_convolution(outputs, outputs)),
    )
    return Sum(residual, nn.Sequential(nn.Upsample(scale_factor=2), shortcut_convolution(inputs, outputs)))


def first_halving(inputs: int, outputs: int) -> nn.Module:
    """Make D's first block, which does not activate the image and takes the shortcut's mean before its convolution."""
    residual = nn.Sequential(
        residual_convolution(inputs, outputs), nn.ReLU(), residual_convolution(outputs, outputs), nn.AvgPool2d(2)
    )
    return Sum(residual, nn.Sequential(nn.AvgPool2d(2), shortcut_convolution(inputs, outputs)))


def block(inputs: int, outputs: int, norm: Norm, *, halve: bool) -> nn.Module:
    """Make one of D's further blocks; its shortcut has a convolution where side or channels change."""
    mean = [nn.AvgPool2d(2)] if halve else []
    residual = nn.Sequential(
        *(norm_of_maps(norm, inputs), nn.ReLU(), residual_convolution(inputs, inputs)),
        *(norm_of_maps(norm, inputs), nn.ReLU(), residual_convolution(inputs, outputs), *mean),
    )
    changed = halve or inputs != outputs
    return Sum(residual, nn.Sequential(shortcut_convolution(inputs, outputs), *mean) if changed else nn.Identity())


def residual_convolution(inputs: int, outputs: int) -> nn.Module:
    return glorot(nn.Conv2d(inputs, outputs, 3, padding=1), 2**0.5)


def shortcut_convolution(inputs: int, outputs: int) -> nn.Module:
    return glorot(nn.Conv2d(inputs, outputs, 1))


def glorot(layer: nn.Conv2d | nn.Linear, gain: float = 1) -> nn.Module:
    """Draw weights as Glorot & Bengio 2010 do, uniformly, `gain` times as large; biases are zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResNet(SquareBackbone):
    """The networks behind SNGAN's best published numbers."""

    name = "resnet"
    summary = "the residual networks of SNGAN, for square images of 32, 48, 64 or 128 px"
    config: Config = Config()
    sides = "32, 48, 64 or 128 px"

    def fits(self, side: int) -> bool:
        return side in PLANS

    def parts(self, data: DataSpec) -> Parts:
        return ResNetParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [ResNet()]
