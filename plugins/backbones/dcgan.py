"""DCGAN networks (Radford et al., 2015) for square images of 8 to 128 px."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ganbench import (
    Backbone,
    Count,
    DataSpec,
    MirroredParts,
    Norm,
    Parts,
    SquareBackbone,
    draw_normal,
    hookimpl,
    norm_of_maps,
)


@dataclass(frozen=True)
class Config:
    """Options.

    width: channels at half the resolution, doubled at every halving (64 in the authors' Torch code).
    z_dim: numbers of a latent (§4).
    code: width of the code of an autoencoder, at most; a quarter of the image is never passed (ours).
    """

    width: Count = 64
    z_dim: Count = 100
    code: Count = 64


class DCGANParts(MirroredParts):
    """Networks from a map of `base` pixels a side, 2 to 7, by a doubling for each of `widths` to the image, or back.

    The kernels are 4×4 with stride 2, as in the authors' Torch code, where the paper draws 5×5.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        self.base, levels = split(self.side)
        self.widths = [config.width * 2**level for level in range(levels)]
        self.features = self.widths[-1] * self.base**2

    def initialise(self, layer: nn.Module) -> None:
        """Draw scales of batch norm from N(1, 0.02) as well, as the authors did."""
        draw_normal(layer)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.02)

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        bias = norm == "none"  # batch norm takes it away again
        layers: list[nn.Module] = [
            nn.Linear(inputs, self.features, bias=bias),
            nn.Unflatten(1, (self.widths[-1], self.base, self.base)),
        ]
        for above, below in zip(self.widths[:0:-1], self.widths[-2::-1], strict=True):
            layers += [norm_of_maps(norm, above), nn.ReLU(), nn.ConvTranspose2d(above, below, 4, 2, 1, bias=bias)]
        return [
            *layers,
            norm_of_maps(norm, self.widths[0]),
            nn.ReLU(),
            nn.ConvTranspose2d(self.widths[0], self.channels, 4, 2, 1),
        ]

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        bias = norm not in ("batch", "instance")  # these take the mean of each channel, and so its bias, away
        layers: list[nn.Module] = [nn.Conv2d(channels, self.widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for above, below in zip(self.widths[1:], self.widths, strict=False):
            layers += [nn.Conv2d(below, above, 4, 2, 1, bias=bias), norm_of_maps(norm, above), nn.LeakyReLU(0.2)]
        return [*layers, nn.Flatten()]


def split(side: int) -> tuple[int, int]:
    """Write a side as base · 2^levels, a base of 7 at most reached in two levels at least, as far as halving goes."""
    base, levels = side, 0
    while base % 2 == 0 and (base > 7 or levels < 2):
        base, levels = base // 2, levels + 1
    return base, levels


class DCGAN(SquareBackbone):
    """The networks that Radford et al. 2015 proposed, their depth fitted to the side of the images."""

    name = "dcgan"
    summary = "strided convolutions with batch norm, for square images of 8 to 128 px"
    config: Config = Config()
    sides = "8 to 128 px with a side of 4 to 7 times a power of two"

    def fits(self, side: int) -> bool:
        return 8 <= side <= 128 and split(side)[0] <= 7

    def parts(self, data: DataSpec) -> Parts:
        return DCGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [DCGAN()]
