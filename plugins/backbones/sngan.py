"""The plain convolutional networks of SNGAN (Miyato et al., 2018, table 3)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from ganbench import (
    Backbone,
    Count,
    DataSpec,
    MirroredParts,
    Norm,
    Parts,
    SquareBackbone,
    hookimpl,
    norm_of_maps,
    norm_of_units,
)

SIDES = (32, 48, 64, 128)


@dataclass(frozen=True)
class Config:
    """Options.

    width: channels at full resolution, doubled at every halving (table 3).
    z_dim: numbers of a latent (table 3).
    code: width of the code of an autoencoder, at most; a quarter of the image is never passed (ours).
    """

    width: Count = 64
    z_dim: Count = 128
    code: Count = 64


class SNGANParts(MirroredParts):
    """Three doublings from an eighth of the side, or three halvings, whatever the side.

    The channels of D are those of table 3, 64-64-128-128-256-256-512; the code of chainer-gan-lib and of compare_gan
    has 64-128-128-256-256-512-512. Initial weights, N(0, 0.02), and the batch norm after G's linear layer, which the
    table does not mention, are those of chainer-gan-lib. In the paper D has spectral norm; here the variant says.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        self.widths = [config.width * 2**level for level in range(4)]
        self.maps = (self.widths[-1], self.side // 8, self.side // 8)
        self.features = prod(self.maps)

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        layers = [nn.Linear(inputs, self.features), norm_of_units(norm, self.features), nn.ReLU()]
        layers.append(nn.Unflatten(1, self.maps))
        for above, below in pairwise(self.widths[::-1]):
            layers += [nn.ConvTranspose2d(above, below, 4, 2, 1), norm_of_maps(norm, below), nn.ReLU()]
        return [*layers, nn.Conv2d(self.widths[0], self.channels, 3, 1, 1)]

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        first, *others = pairwise([channels, *self.widths])
        layers: list[nn.Module] = [nn.Conv2d(*first, 3, 1, 1), nn.LeakyReLU(0.1)]
        for below, above in others:
            layers += [nn.Conv2d(below, below, 4, 2, 1), norm_of_maps(norm, below), nn.LeakyReLU(0.1)]
            layers += [nn.Conv2d(below, above, 3, 1, 1), norm_of_maps(norm, above), nn.LeakyReLU(0.1)]
        return [*layers, nn.Flatten()]


class SNGAN(SquareBackbone):
    """The networks of Miyato et al.'s comparison without residual blocks, on CIFAR-10 (32 px) and STL-10 (48 px)."""

    name = "sngan"
    summary = "the plain convolutional networks of SNGAN, for square images of 32, 48, 64 or 128 px"
    config: Config = Config()
    sides = "32, 48, 64 or 128 px"

    def fits(self, side: int) -> bool:
        return side in SIDES

    def parts(self, data: DataSpec) -> Parts:
        return SNGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [SNGAN()]
