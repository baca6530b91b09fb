"""Architecture families: a backbone, bound to one data set, makes the networks that all variants share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, ClassVar

from torch import Tensor, nn

from ganbench.errors import UserError
from ganbench.seeds import derive, seeded
from ganbench.types import DataSpec, Norm


class Discriminator(nn.Module):
    """A trunk that turns images into features `[B, F]` and a linear head on them; returns `[B, outputs]`."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw output (logit, critic value, energy) for each sample of `x`."""
        output: Tensor = self.head(self.trunk(x))
        return output.float()  # losses of bfloat16 outputs would be coarse


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
    """The networks of one backbone for one data set. A method left out says so when a variant asks for it."""

    def __init__(self, data: DataSpec, z_dim: int) -> None:
        self.data, self.z_dim = data, z_dim

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """Make a network `[B, inputs or z_dim] -> [B, *shape]`; images in [-1, 1]."""
        raise self._missing("generator")

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """Make a network `[B, channels or C, ...] -> [B, outputs]` without a final activation."""
        raise self._missing("discriminator")

    def encoder(self, *, outputs: int) -> nn.Module:
        """Make a network `[B, *shape] -> [B, outputs]`, batch-normalised like the generator."""
        raise self._missing("encoder")

    def autoencoder(self) -> Autoencoder:
        """Make an autoencoder of the data, without normalisation, its code as wide as the backbone sees fit."""
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


def square_misfit(name: str, data: DataSpec) -> str | None:
    """Return why the backbone `name` cannot make networks for `data` if these are not square images, or None."""
    if not data.is_image:
        return f"{name} makes images, not data of shape {data.shape}"
    _, height, width = data.shape
    return None if height == width else f"{name} makes square images, not {height}×{width} px"


class SeededParts(Parts):
    """Parts whose initial weights depend on the seed and on what is asked for, not on the variant that asks.

    So two variants start from the same generator, and seeds pair up in a comparison.
    """

    def __init__(self, parts: Parts, seed: int) -> None:
        super().__init__(parts.data, parts.z_dim)
        self._parts, self._seed, self._asked = parts, seed, Counter[str]()

    def _make(self, part: str, **arguments: Any) -> Any:
        number = self._asked[part]
        self._asked[part] += 1
        with seeded(derive(self._seed, "init", part, number)):
            return getattr(self._parts, part)(**arguments)

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """See `Parts.generator`."""
        network: nn.Module = self._make("generator", inputs=inputs)
        return network

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """See `Parts.discriminator`."""
        network: Discriminator = self._make("discriminator", outputs=outputs, channels=channels, norm=norm)
        return network

    def encoder(self, *, outputs: int) -> nn.Module:
        """See `Parts.encoder`."""
        network: nn.Module = self._make("encoder", outputs=outputs)
        return network

    def autoencoder(self) -> Autoencoder:
        """See `Parts.autoencoder`."""
        network: Autoencoder = self._make("autoencoder")
        return network

    def translator(self) -> nn.Module:
        """See `Parts.translator`."""
        network: nn.Module = self._make("translator")
        return network
