"""The networks of PacGAN's experiments with points in the plane (Lin et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganbench import (
    Backbone,
    Count,
    DataSpec,
    Discriminator,
    Norm,
    Parts,
    UserError,
    draw_normal,
    hookimpl,
    norm_of_units,
    normalise_weights,
)


@dataclass(frozen=True)
class Config:
    """Options.

    width: of the hidden layers of generator and encoder (synthetic_data_experiments/2DGrid_ALI/pacgan_task.py).
    depth: hidden layers of the generator (the same).
    encoder_depth: hidden layers of an encoder (the same).
    units: of each of the three layers of a discriminator (the same).
    pieces: affine maps of which a unit is the largest (the same).
    z_dim: numbers of a latent (the same).
    """

    width: Count = 400
    depth: Count = 4
    encoder_depth: Count = 2
    units: Count = 200
    pieces: Count = 5
    z_dim: Count = 2


class Maxout(nn.Module):
    """The largest of several affine maps, unit by unit (Goodfellow et al. 2013)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.maps, self.units = nn.Linear(inputs, units * pieces), units

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs]` to `[B, units]`."""
        return self.maps(x).unflatten(1, (self.units, -1)).max(2).values


class PacGANParts(Parts):
    """Generator and encoder with batch norm, as that of Blocks with which the authors work, and maxout discriminators.

    Running statistics keep 0.95 of what they were; the batch norm of Blocks adds 1e-4 to variances.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim)
        self.config = config

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return self._network(inputs or self.z_dim, self.data.shape[0], self.config.depth)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        if norm == "instance":
            raise UserError("the pacgan backbone has no instance norm, its layers have no spatial extent")
        units, pieces = self.config.units, self.config.pieces
        layers: list[nn.Module] = []
        for inputs in (channels or self.data.shape[0], units, units):
            layers += [Maxout(inputs, units, pieces)]
            layers += [norm_of_units(norm, units)] if norm == "layer" else []  # PacGAN's has no batch norm
        network = Discriminator(nn.Sequential(*layers), nn.Linear(units, outputs)).apply(draw_normal)
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        return self._network(channels or self.data.shape[0], outputs, self.config.encoder_depth)

    def _network(self, inputs: int, outputs: int, depth: int) -> nn.Module:
        layers: list[nn.Module] = []
        for level in range(depth):
            width = self.config.width
            layers += [nn.Linear(width if level else inputs, width, bias=False)]
            layers += [nn.BatchNorm1d(width, eps=1e-4, momentum=0.05), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.config.width, outputs)).apply(draw_normal)


class PacGAN(Backbone):
    """For points alone, as in the authors' program of their synthetic experiments and of ALI's.

    They draw all weights from N(0, 0.02).
    """

    name = "pacgan"
    summary = "for points: batch-normalised generator of 4 × 400 units, maxout discriminator of 3 × 200 × 5"
    config: Config = Config()

    def misfit(self, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        return f"pacgan makes points, not images of shape {data.shape}" if data.is_image else None

    def __call__(self, data: DataSpec) -> Parts:
        if reason := self.misfit(data):
            raise UserError(reason)
        return PacGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [PacGAN()]
