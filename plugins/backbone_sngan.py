"""The plain convolutional networks of SNGAN (Miyato et al., 2018, table 3)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from ganbench import (
    Autoencoder,
    Backbone,
    Count,
    DataSpec,
    Discriminator,
    Norm,
    Parts,
    UserError,
    draw_normal,
    hookimpl,
    norm_of_maps,
    norm_of_units,
    normalise_weights,
    square_misfit,
)

SIDES = (32, 48, 64, 128)


@dataclass(frozen=True)
class Config:
    """Options. `width`: channels at full resolution, doubled at every halving. `code`: at most, in autoencoders."""

    width: Count = 64
    z_dim: Count = 128
    code: Count = 64


class SNGANParts(Parts):
    """Three doublings from an eighth of the side, or three halvings, whatever the side.

    The channels of D are those of table 3, 64-64-128-128-256-256-512; the code of chainer-gan-lib and of compare_gan
    has 64-128-128-256-256-512-512. Initial weights, N(0, 0.02), and the batch norm after G's linear layer, which the
    table does not mention, are those of chainer-gan-lib. In the paper D has spectral norm; here the variant says.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim)
        self.config = config
        self.channels, side, _ = data.shape
        self.widths = [config.width * 2**level for level in range(4)]
        self.maps = (self.widths[-1], side // 8, side // 8)
        self.features = self.widths[-1] * (side // 8) ** 2

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return nn.Sequential(*self._upward(inputs or self.z_dim, "batch"), nn.Tanh()).apply(draw_normal)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        trunk = nn.Sequential(*self._downward(channels or self.channels, norm))
        network = Discriminator(trunk, nn.Linear(self.features, outputs)).apply(draw_normal)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int) -> nn.Module:
        return self.discriminator(outputs=outputs)

    def autoencoder(self) -> Autoencoder:
        code = min(self.config.code, prod(self.data.shape) // 4)
        encoder = nn.Sequential(*self._downward(self.channels, "none"), nn.Linear(self.features, code))
        decoder = nn.Sequential(*self._upward(code, "none"))
        return Autoencoder(encoder, decoder).apply(draw_normal)

    def _upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        layers = [nn.Linear(inputs, self.features), norm_of_units(norm, self.features), nn.ReLU()]
        layers.append(nn.Unflatten(1, self.maps))
        for above, below in pairwise(self.widths[::-1]):
            layers += [nn.ConvTranspose2d(above, below, 4, 2, 1), norm_of_maps(norm, below), nn.ReLU()]
        return [*layers, nn.Conv2d(self.widths[0], self.channels, 3, 1, 1)]

    def _downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        first, *others = pairwise([channels, *self.widths])
        layers: list[nn.Module] = [nn.Conv2d(*first, 3, 1, 1), nn.LeakyReLU(0.1)]
        for below, above in others:
            layers += [nn.Conv2d(below, below, 4, 2, 1), norm_of_maps(norm, below), nn.LeakyReLU(0.1)]
            layers += [nn.Conv2d(below, above, 3, 1, 1), norm_of_maps(norm, above), nn.LeakyReLU(0.1)]
        return [*layers, nn.Flatten()]


class SNGAN(Backbone):
    """The networks of Miyato et al.'s comparison without residual blocks, on CIFAR-10 (32 px) and STL-10 (48 px)."""

    name = "sngan"
    summary = "the plain convolutional networks of SNGAN, for square images of 32, 48, 64 or 128 px"
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := square_misfit(self.name, data):
            return reason
        side = data.shape[-1]
        return None if side in SIDES else f"sngan makes images of 32, 48, 64 or 128 px, not {side} px"

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return SNGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [SNGAN()]
