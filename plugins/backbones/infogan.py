"""The networks of "Are GANs Created Equal?" (Lucic et al., 2018), which took them from InfoGAN (Chen et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from ganbench import (
    Autoencoder,
    Backbone,
    Count,
    DataSpec,
    MirroredParts,
    Norm,
    Parts,
    SquareBackbone,
    draw_truncated,
    hookimpl,
    norm_of_maps,
    norm_of_units,
)

EPSILON = 1e-3
"""Of batch norm, as in the authors' code. Its running averages follow at PyTorch's 0.1 and not at the authors' 0.001,
with which they would still be far from the truth after a thousand updates."""


@dataclass(frozen=True)
class Config:
    """Options.

    width: channels at half the resolution (google/compare_gan, branch v1).
    hidden: units of the layer before the maps, and after (google/compare_gan, branch v1).
    z_dim: numbers in a latent (google/compare_gan, branch v1).
    code: numbers in the code of an autoencoder (google/compare_gan, branch v1, BEGAN).
    """

    width: Count = 64
    hidden: Count = 1024
    z_dim: Count = 64
    code: Count = 64


class InfoGANParts(MirroredParts):
    """Two fully connected layers and two (transposed) 4×4 convolutions of stride 2 in each network.

    Layers and initial weights are those of the code that Lucic et al. published (google/compare_gan, branch v1),
    biases before a norm included. Images are in [-1, 1] here, so G ends in tanh where theirs, in [0, 1], ends in a
    sigmoid. Instance norm has nothing to normalise in D's hidden layer and is left out there.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        self.width = config.width
        self.hidden = self.features = config.hidden
        self.maps = (2 * config.width, self.side // 4, self.side // 4)

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        first = [nn.Linear(inputs, self.hidden), norm_of_units(norm, self.hidden), nn.LeakyReLU(0.2)]
        return [*first, *self.deconvolutions(self.hidden, norm)]

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        last = [nn.Linear(prod(self.maps), self.hidden), norm_of_units(norm, self.hidden), nn.LeakyReLU(0.2)]
        return [*self.convolutions(channels, norm), *last]

    def deconvolutions(self, inputs: int, norm: Norm) -> list[nn.Module]:
        width, units = self.width, prod(self.maps)
        return [
            *(nn.Linear(inputs, units), norm_of_units(norm, units), nn.LeakyReLU(0.2)),
            nn.Unflatten(1, self.maps),
            *(nn.ConvTranspose2d(2 * width, width, 4, 2, 1), norm_of_maps(norm, width), nn.LeakyReLU(0.2)),
            nn.ConvTranspose2d(width, self.channels, 4, 2, 1),
        ]

    def convolutions(self, channels: int, norm: Norm) -> list[nn.Module]:
        width = self.width
        return [
            *(nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1), norm_of_maps(norm, 2 * width), nn.LeakyReLU(0.2)),
            nn.Flatten(),
        ]

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        """Make the autoencoder that Lucic et al. trained BEGAN with: the two convolutions, and no hidden layer."""
        encoder = nn.Sequential(*self.convolutions(self.channels, norm), nn.Linear(prod(self.maps), self.code))
        decoder = nn.Sequential(nn.LeakyReLU(0.2), *self.deconvolutions(self.code, norm))
        return Autoencoder(encoder, decoder).apply(self.initialise)

    def initialise(self, layer: nn.Module) -> None:
        draw_truncated(layer)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.eps = EPSILON


class InfoGAN(SquareBackbone):
    """The networks of the large study of Lucic et al. 2018; its prior, U(-1, 1), is a matter of the variant."""

    name = "infogan"
    summary = 'the networks of "Are GANs Created Equal?", for square images of 8 to 128 px'
    config: Config = Config()
    sides = "8 to 128 px with a side divisible by 4"

    def fits(self, side: int) -> bool:
        return 8 <= side <= 128 and side % 4 == 0

    def parts(self, data: DataSpec) -> Parts:
        return InfoGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [InfoGAN()]
