"""Fully connected networks for points and for tiny images."""

from __future__ import annotations

from collections.abc import Callable
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
    hookimpl,
    norm_of_units,
    normalise_weights,
)

LARGEST_SIDE = 32


@dataclass(frozen=True)
class Config:
    """Options.

    width: of the hidden layers (ours).
    depth: hidden layers of each network (ours).
    z_dim: numbers of a latent; 2 for points and 64 for images if nothing is said (ours).
    code: numbers of an autoencoder's code, at most (ours).
    """

    width: Count = 256
    depth: Count = 3
    z_dim: Count | None = None
    code: Count = 64


class MLPParts(Parts):
    """Networks of equally wide hidden layers; only a discriminator is normalised, and not after its first layer.

    On points a discriminator asked for batch norm has none: with it the non-saturating GAN misses the modes of the
    ring, which it finds without. Other norms are as asked for.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim or (64 if data.is_image else 2))
        self.config = config
        self.size = prod(data.shape)

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        tanh = [nn.Tanh()] if self.data.is_image else []
        layers = self._hidden(inputs or self.z_dim, nn.ReLU, "none")
        return nn.Sequential(*layers, *self._output(), *tanh).apply(initialise)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        if norm == "instance":
            raise UserError("the mlp backbone has no instance norm, its layers have no spatial extent: use layer norm")
        inputs = self.size // self.data.shape[0] * (channels or self.data.shape[0])
        if norm == "batch" and not self.data.is_image:
            norm = "none"
        trunk = nn.Sequential(nn.Flatten(), *self._hidden(inputs, lambda: nn.LeakyReLU(0.2), norm))
        network = Discriminator(trunk, nn.Linear(self.config.width, outputs)).apply(initialise)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        return self.discriminator(outputs=outputs, channels=channels, norm="none")

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        norm = norm if self.data.is_image else "none"
        code = max(1, min(self.config.code, self.size // 4))  # else small data would pass unchanged
        encoder = self.discriminator(outputs=code, norm=norm)
        decoder = nn.Sequential(*self._hidden(code, nn.ReLU, norm), *self._output()).apply(initialise)
        return Autoencoder(encoder, decoder)

    def _hidden(self, inputs: int, activation: Callable[[], nn.Module], norm: Norm) -> list[nn.Module]:
        width = self.config.width
        layers: list[nn.Module] = [nn.Linear(inputs, width), activation()]
        for _ in range(self.config.depth - 1):
            layers += [nn.Linear(width, width, bias=norm != "batch"), norm_of_units(norm, width), activation()]
        return layers

    def _output(self) -> list[nn.Module]:
        return [nn.Linear(self.config.width, self.size), nn.Unflatten(1, self.data.shape)]


def initialise(layer: nn.Module) -> None:
    """Draw weights as for ReLU (He et al. 2015); biases are zero."""
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class MLP(Backbone):
    """Fully connected networks, for data on which convolutions would say nothing."""

    name = "mlp"
    summary = f"fully connected layers, for points and images of at most {LARGEST_SIDE} px"
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why an MLP cannot make networks for `data`, or None."""
        if data.is_image:
            _, height, width = data.shape
            if max(height, width) > LARGEST_SIDE:
                return f"mlp makes points and images of at most {LARGEST_SIDE} px a side, not {height}×{width} px"
        elif len(data.shape) != 1:
            return f"mlp makes points and images, not data of shape {data.shape}"
        return None

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return MLPParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [MLP()]
