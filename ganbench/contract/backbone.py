"""Architecture families: a backbone, bound to one data set, makes the networks that all variants share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, fx, nn

from ganbench.contract.data import exact
from ganbench.contract.types import DataSpec, Norm
from ganbench.errors import UserError

fx.wrap("exact")  # who traces a discriminator, to take its features, meets no choice in it


class Discriminator(nn.Module):
    """A trunk that turns images into features `[B, F]` and a linear head on them; returns `[B, outputs]`."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw output (logit, critic value, energy) for each sample of `x`."""
        output: Tensor = self.head(self.trunk(x))
        return exact(output)


class Autoencoder(nn.Module):
    """An encoder to a code `[B, code]` and a decoder back to the shape of the data (linear output)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of `x`."""
        output: Tensor = self.decoder(self.encoder(x))
        return output


class Parts:
    """The networks of one backbone for one data set. A method left out says so when a variant asks for it.

    `channels_last`: whether their weights are to lie so in a processor's memory; their modules must not ask for views
    of maps (`reshape`, not `view`).
    """

    channels_last: ClassVar[bool] = False

    def __init__(self, data: DataSpec, z_dim: int) -> None:
        self.data, self.z_dim = data, z_dim

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """Make a network `[B, inputs or z_dim] -> [B, *shape]`; images in [-1, 1]."""
        raise self._missing("generator")

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """Make a network `[B, channels or C, ...] -> [B, outputs]` without a final activation."""
        raise self._missing("discriminator")

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        """Make a network `[B, channels or C, ...] -> [B, outputs]`, batch-normalised like the generator."""
        raise self._missing("encoder")

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        """Make an autoencoder of the data, its code as wide as the backbone sees fit. `norm`: "batch" or "none"."""
        raise self._missing("autoencoder")

    def translator(self) -> nn.Module:
        """Make a network from images to images of the same shape, in [-1, 1]."""
        raise self._missing("translator")

    def _missing(self, part: str) -> UserError:
        return UserError(f"this backbone has no {part} for data of shape {self.data.shape}")


class Backbone(ABC):
    """An architecture family. `config` is a frozen dataclass whose fields `--set NAME.field=value` can change."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    config: Any = None

    def misfit(self, data: DataSpec) -> str | None:
        """Return why this family cannot make networks for `data`, or None."""
        return None

    @abstractmethod
    def __call__(self, data: DataSpec) -> Parts:
        """Bind the family to one data set."""
