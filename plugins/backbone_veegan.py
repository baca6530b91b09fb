"""The stacked-MNIST networks of VEEGAN (Srivastava et al., 2017) and PacGAN (Lin et al., 2018)."""

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
    draw_truncated,
    hookimpl,
    norm_of_maps,
    normalise_weights,
    square_misfit,
)

HALVINGS = 4


@dataclass(frozen=True)
class Config:
    """Options. `width`: channels at half the resolution, doubled at every halving. `code`: at most, in autoencoders."""

    width: Count = 64
    z_dim: Count = 100
    code: Count = 64


class VEEGANParts(Parts):
    """Four (transposed) 5×5 convolutions of stride 2 and one linear layer in each network.

    Layers and initial weights are those of the code that PacGAN's authors published for VEEGAN's experiment
    (fjxmlzn/PacGAN, stacked_MNIST_experiments), biases before a norm included. A side of 28 px halves to 14, 7, 4
    and 2, padded as TensorFlow pads. The authors' prior is U(-1, 1); a prior is a matter of the variant here.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim)
        self.config = config
        self.channels = data.shape[0]
        self.sides = [data.shape[-1]]
        for _ in range(HALVINGS):
            self.sides.append((self.sides[-1] + 1) // 2)
        self.widths = [config.width * 2**level for level in range(HALVINGS)]
        self.features = self.widths[-1] * self.sides[-1] ** 2

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return nn.Sequential(*self._upward(inputs or self.z_dim, "batch"), nn.Tanh()).apply(draw_truncated)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        trunk = nn.Sequential(*self._downward(channels or self.channels, norm))
        network = Discriminator(trunk, nn.Linear(self.features, outputs)).apply(draw_truncated)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int) -> nn.Module:
        return self.discriminator(outputs=outputs)

    def autoencoder(self) -> Autoencoder:
        code = min(self.config.code, prod(self.data.shape) // 4)
        encoder = nn.Sequential(*self._downward(self.channels, "none"), nn.Linear(self.features, code))
        decoder = nn.Sequential(*self._upward(code, "none"))
        return Autoencoder(encoder, decoder).apply(draw_truncated)

    def _upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        side = self.sides[-1]
        layers: list[nn.Module] = [nn.Linear(inputs, self.features), nn.Unflatten(1, (self.widths[-1], side, side))]
        steps = pairwise([*self.widths[::-1], self.channels])
        for (above, below), side in zip(steps, self.sides[-2::-1], strict=True):
            layers += [norm_of_maps(norm, above), nn.ReLU(), *same_deconvolution(above, below, side)]
        return layers

    def _downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        layers = [*same_convolution(channels, self.widths[0], self.sides[0]), nn.LeakyReLU(0.2)]
        for (below, above), side in zip(pairwise(self.widths), self.sides[1:], strict=False):
            layers += [*same_convolution(below, above, side), norm_of_maps(norm, above), nn.LeakyReLU(0.2)]
        return [*layers, nn.Flatten()]


def same_convolution(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """Make a 5×5 convolution of stride 2 from `side` to ⌈side/2⌉ px, padded as TensorFlow's SAME.

    That pads 2 px at both ends of an odd side, but 1 before and 2 after an even one.
    """
    if side % 2:
        return [nn.Conv2d(inputs, outputs, 5, 2, 2)]
    return [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(inputs, outputs, 5, 2)]


def same_deconvolution(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """Make the transpose of `same_convolution`, from ⌈side/2⌉ to `side` px."""
    if side % 2:
        return [nn.ConvTranspose2d(inputs, outputs, 5, 2, 2)]
    return [nn.ConvTranspose2d(inputs, outputs, 5, 2, 1), nn.ZeroPad2d((0, -1, 0, -1))]  # negative padding cuts off


class VEEGAN(Backbone):
    """The networks behind the published mode counts on stacked MNIST, their sides halved with rounding up."""

    name = "veegan"
    summary = "the stacked-MNIST networks of VEEGAN and PacGAN, for square images of 17 to 128 px"
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := square_misfit(self.name, data):
            return reason
        side = data.shape[-1]
        return None if 17 <= side <= 128 else f"veegan makes images of 17 to 128 px, not {side} px"

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return VEEGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [VEEGAN()]
