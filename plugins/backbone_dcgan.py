"""DCGAN networks (Radford et al., 2015) for square images of 8 to 128 px."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench import Autoencoder, Backbone, Count, DataSpec, Discriminator, Norm, Parts, UserError, hookimpl

NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "spectral": lambda channels: nn.Identity(),
    "none": lambda channels: nn.Identity(),
}


@dataclass(frozen=True)
class Config:
    """Options. `width`: channels at half the resolution, doubled at every halving. `code`: at most, in autoencoders."""

    width: Count = 64
    z_dim: Count = 100
    code: Count = 64


class DCGANParts(Parts):
    """Networks from a map of `base` pixels a side, 2 to 7, by `levels` doublings to the image, or back.

    The kernels are 4×4 with stride 2, as in the authors' Torch code, where the paper draws 5×5.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim)
        self.config = config
        self.channels = data.shape[0]
        self.base, self.levels = split(data.shape[-1])
        self.widths = [config.width * 2**level for level in range(self.levels)]
        self.features = self.widths[-1] * self.base**2

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return nn.Sequential(*self._upward(inputs or self.z_dim, "batch"), nn.Tanh()).apply(initialise)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        trunk = nn.Sequential(*self._downward(channels or self.channels, norm))
        network = Discriminator(trunk, nn.Linear(self.features, outputs)).apply(initialise)
        if norm == "spectral":
            for layer in [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]:
                spectral_norm(layer)
        return network

    def encoder(self, *, outputs: int) -> nn.Module:
        return self.discriminator(outputs=outputs)

    def autoencoder(self) -> Autoencoder:
        code = min(self.config.code, self.channels * self.data.shape[-1] ** 2 // 4)  # else 8 px would pass unchanged
        encoder = nn.Sequential(*self._downward(self.channels, "none"), nn.Linear(self.features, code))
        decoder = nn.Sequential(*self._upward(code, "none"))
        return Autoencoder(encoder, decoder).apply(initialise)

    def _upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        bias = norm == "none"  # batch norm takes it away again
        layers: list[nn.Module] = [
            nn.Linear(inputs, self.features, bias=bias),
            nn.Unflatten(1, (self.widths[-1], self.base, self.base)),
        ]
        for above, below in zip(self.widths[:0:-1], self.widths[-2::-1], strict=True):
            layers += [NORMS[norm](above), nn.ReLU(), nn.ConvTranspose2d(above, below, 4, 2, 1, bias=bias)]
        return [
            *layers,
            NORMS[norm](self.widths[0]),
            nn.ReLU(),
            nn.ConvTranspose2d(self.widths[0], self.channels, 4, 2, 1),
        ]

    def _downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        bias = norm not in ("batch", "instance")  # these take the mean of each channel, and so its bias, away
        layers: list[nn.Module] = [nn.Conv2d(channels, self.widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for above, below in zip(self.widths[1:], self.widths, strict=False):
            layers += [nn.Conv2d(below, above, 4, 2, 1, bias=bias), NORMS[norm](above), nn.LeakyReLU(0.2)]
        return [*layers, nn.Flatten()]


def initialise(layer: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and scales of batch norm from N(1, 0.02), as the authors did; biases are zero."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1, 0.02)


def split(side: int) -> tuple[int, int]:
    """Write a side as base · 2^levels, a base of 7 at most reached in two levels at least, as far as halving goes."""
    base, levels = side, 0
    while base % 2 == 0 and (base > 7 or levels < 2):
        base, levels = base // 2, levels + 1
    return base, levels


class DCGAN(Backbone):
    """The networks that Radford et al. 2015 proposed, their depth fitted to the side of the images."""

    name = "dcgan"
    summary = "strided convolutions with batch norm, for square images of 8 to 128 px"
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why DCGAN cannot make networks for `data`, or None."""
        if not data.is_image:
            return f"dcgan makes images, not data of shape {data.shape}"
        _, height, width = data.shape
        if height != width:
            return f"dcgan makes square images, not {height}×{width} px"
        if not 8 <= width <= 128 or split(width)[0] > 7:
            return f"dcgan makes images of 8 to 128 px with a side of 4 to 7 times a power of two, not {width} px"
        return None

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return DCGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [DCGAN()]
