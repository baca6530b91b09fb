"""Networks that several backbones share: a way up and a way down, and the four parts that are made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import ClassVar

from torch import nn

from ganbench.contract.backbone import Autoencoder, Backbone, Discriminator, Parts
from ganbench.contract.types import DataSpec, Norm
from ganbench.errors import UserError
from ganbench.toolbox.layers import draw_normal, normalise_weights


class MirroredParts(Parts, ABC):
    """Make four parts for images out of a way up and a way down: G is up, D and encoder are down, autoencoders both.

    A family supplies `upward`, `downward` and, in its `__init__`, `features`: how many numbers `downward` ends in.
    Where its layers do not start from N(0, 0.02) it also supplies `initialise`, and `linear` if it initialises each
    layer as it is made. `code`: the width of an autoencoder's code, at most; a quarter of the image is never passed.

    Their weights lie with channels last (`Parts.channels_last`).
    """

    channels_last = True

    features: int

    def __init__(self, data: DataSpec, z_dim: int, *, code: int) -> None:
        super().__init__(data, z_dim)
        self.channels, self.side, _ = data.shape
        self.code = min(code, prod(data.shape) // 4)  # else small images would pass unchanged

    @abstractmethod
    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        """Make the layers `[B, inputs] -> [B, *shape]`, without a final activation. `norm`: "batch" or "none"."""

    @abstractmethod
    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        """Make the layers `[B, channels, H, W] -> [B, features]`; spectral norm is added to them later."""

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        """Make the linear layer that follows `downward`."""
        return nn.Linear(inputs, outputs)

    def initialise(self, layer: nn.Module) -> None:
        """Draw the initial weights of a layer; called with every module of a finished part, from first to last."""
        draw_normal(layer)

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """See `Parts.generator`."""
        return nn.Sequential(*self.upward(inputs or self.z_dim, "batch"), nn.Tanh()).apply(self.initialise)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """See `Parts.discriminator`."""
        trunk = nn.Sequential(*self.downward(channels or self.channels, norm))
        network = Discriminator(trunk, self.linear(self.features, outputs)).apply(self.initialise)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        """See `Parts.encoder`."""
        return self.discriminator(outputs=outputs, channels=channels)

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        """See `Parts.autoencoder`."""
        encoder = nn.Sequential(*self.downward(self.channels, norm), self.linear(self.features, self.code))
        decoder = nn.Sequential(*self.upward(self.code, norm))
        return Autoencoder(encoder, decoder).apply(self.initialise)


class SquareBackbone(Backbone):
    """An architecture family for square images. It supplies `sides`, the same in words, `fits` and `parts`.

    `sides` completes the sentence "NAME makes images of …, not 30 px", such as "8 to 128 px".
    """

    sides: ClassVar[str]

    @abstractmethod
    def fits(self, side: int) -> bool:
        """Return whether the family has networks for images of `side` px."""

    @abstractmethod
    def parts(self, data: DataSpec) -> Parts:
        """Make the parts for `data`, which are square images of a side that fits."""

    def misfit(self, data: DataSpec) -> str | None:
        """Return why this family cannot make networks for `data`, or None."""
        return square_misfit(self.name, data, sides=self.sides, fits=self.fits)

    def __call__(self, data: DataSpec) -> Parts:
        """Bind the family to one data set; data that do not fit raise `UserError`."""
        if reason := self.misfit(data):
            raise UserError(reason)
        return self.parts(data)


def square_misfit(
    name: str, data: DataSpec, *, sides: str = "any side", fits: Callable[[int], bool] = lambda side: True
) -> str | None:
    """Return why `name` has no networks for `data` unless these are square images of a side that fits, else None.

    `sides`: which do, in words, such as "8 to 128 px".
    """
    if not data.is_image:
        return f"{name} makes images, not data of shape {data.shape}"
    _, height, width = data.shape
    if height != width:
        return f"{name} makes square images, not {height}×{width} px"
    return None if fits(width) else f"{name} makes images of {sides}, not {width} px"
