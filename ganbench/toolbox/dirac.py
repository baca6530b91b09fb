"""The Dirac-GAN: a generator that is a point, a discriminator that is a slope (Mescheder et al. 2018, section 2)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganbench.contract.backbone import Backbone, Discriminator, Parts
from ganbench.contract.data import ImageSet
from ganbench.contract.types import DataSpec, Norm
from ganbench.errors import UserError

THETA, PSI = "G.theta", "D.head.weight"
"""The two parameters by their names in a variant: where the generator's point lies, and the discriminator's slope."""


class Point(nn.Module):
    """A generator `[B, z] -> [B, 1]` that makes one point, θ, of every latent."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        """Return θ as often as there are latents."""
        return self.theta.expand(len(z), 1)


class Slope(nn.Module):
    """A linear map `[B, inputs] -> [B, outputs]` by the weight ψ; `normalised`: divided by its norm, as spectral norm
    does to what has one output, but without a power iteration to wait for.
    """

    def __init__(self, inputs: int, outputs: int, *, normalised: bool) -> None:
        super().__init__()
        self.weight, self.normalised = nn.Parameter(torch.ones(outputs, inputs)), normalised

    def forward(self, x: Tensor) -> Tensor:
        """Return xψ."""
        weight = self.weight / self.weight.norm() if self.normalised else self.weight
        return x.to(weight.dtype) @ weight.T


class DiracParts(Parts):
    """θ and ψ begin at 1, whatever the seed. D has no bias and no norm but the spectral one, with which |ψ| is 1."""

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """Make a point; it knows nothing of its inputs."""
        return Point()

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """Make D(x) = ψx, of several points together their sum times ψ."""
        return Discriminator(nn.Flatten(), Slope(channels or 1, outputs, normalised=norm == "spectral"))


class Dirac(Backbone):
    """A point and a slope, for data that are points of a line."""

    name: ClassVar[str] = "dirac"
    summary = "the Dirac-GAN: a point and a slope"
    config: Any = None

    def misfit(self, data: DataSpec) -> str | None:
        """Return why there is no Dirac-GAN for `data`, or None."""
        return None if data.shape == (1,) else f"the Dirac-GAN is of points on a line, not of shape {data.shape}"

    def __call__(self, data: DataSpec) -> Parts:
        """Bind it to points of a line."""
        if reason := self.misfit(data):
            raise UserError(reason)
        return DiracParts(data, 1)


def dirac_data(n: int) -> ImageSet:
    """Return the Dirac-GAN's data: `n` times the point 0, float32 `[n, 1]`."""
    return ImageSet(torch.zeros(n, 1))
