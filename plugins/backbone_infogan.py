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
    Discriminator,
    Norm,
    Parts,
    UserError,
    draw_truncated,
    hookimpl,
    norm_of_maps,
    norm_of_units,
    normalise_weights,
    square_misfit,
)

EPSILON = 1e-3
"""Of batch norm, as in the authors' code. Its running averages follow at PyTorch's 0.1 and not at the authors' 0.001,
with which they would still be far from the truth after a thousand updates."""


@dataclass(frozen=True)
class Config:
    """Options. `width`: channels at half the resolution. `hidden`: units of the layer before the maps, and after.

    `code`: at most, in autoencoders.
    """

    width: Count = 64
    hidden: Count = 1024
    z_dim: Count = 64
    code: Count = 64


class InfoGANParts(Parts):
    """Two fully connected layers and two (transposed) 4×4 convolutions of stride 2 in each network.

    Layers and initial weights are those of the code that Lucic et al. published (google/compare_gan, branch v1),
    biases before a norm included. Images are in [-1, 1] here, so G ends in tanh where theirs, in [0, 1], ends in a
    sigmoid. Instance norm has nothing to normalise in D's hidden layer and is left out there.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim)
        self.config = config
        self.channels, side, _ = data.shape
        self.maps = (2 * config.width, side // 4, side // 4)
        self.features = 2 * config.width * (side // 4) ** 2

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        hidden = self.config.hidden
        first = [nn.Linear(inputs or self.z_dim, hidden), norm_of_units("batch", hidden), nn.LeakyReLU(0.2)]
        return nn.Sequential(*first, *self._upward(hidden, "batch"), nn.Tanh()).apply(initialise)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        hidden = self.config.hidden
        layers = [*self._downward(channels or self.channels, norm), nn.Linear(self.features, hidden)]
        trunk = nn.Sequential(*layers, norm_of_units(norm, hidden), nn.LeakyReLU(0.2))
        network = Discriminator(trunk, nn.Linear(hidden, outputs)).apply(initialise)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int) -> nn.Module:
        return self.discriminator(outputs=outputs)

    def autoencoder(self) -> Autoencoder:
        """Make the autoencoder that Lucic et al. trained BEGAN with: the two convolutions, and no hidden layer."""
        code = min(self.config.code, prod(self.data.shape) // 4)
        encoder = nn.Sequential(*self._downward(self.channels, "none"), nn.Linear(self.features, code))
        decoder = nn.Sequential(nn.LeakyReLU(0.2), *self._upward(code, "none"))
        return Autoencoder(encoder, decoder).apply(initialise)

    def _upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        width = self.config.width
        return [
            *(nn.Linear(inputs, self.features), norm_of_units(norm, self.features), nn.LeakyReLU(0.2)),
            nn.Unflatten(1, self.maps),
            *(nn.ConvTranspose2d(2 * width, width, 4, 2, 1), norm_of_maps(norm, width), nn.LeakyReLU(0.2)),
            nn.ConvTranspose2d(width, self.channels, 4, 2, 1),
        ]

    def _downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        width = self.config.width
        return [
            *(nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1), norm_of_maps(norm, 2 * width), nn.LeakyReLU(0.2)),
            nn.Flatten(),
        ]


def initialise(layer: nn.Module) -> None:
    draw_truncated(layer)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        layer.eps = EPSILON


class InfoGAN(Backbone):
    """The networks of the large study of Lucic et al. 2018; its prior, U(-1, 1), is a matter of the variant."""

    name = "infogan"
    summary = 'the networks of "Are GANs Created Equal?", for square images of 8 to 128 px'
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := square_misfit(self.name, data):
            return reason
        side = data.shape[-1]
        if not 8 <= side <= 128 or side % 4:
            return f"infogan makes images of 8 to 128 px with a side divisible by 4, not {side} px"
        return None

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return InfoGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [InfoGAN()]
