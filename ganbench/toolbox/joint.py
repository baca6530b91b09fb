"""Discriminators of pairs: a sample and the latent that belongs to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganbench.contract.backbone import Parts
from ganbench.contract.data import exact
from ganbench.toolbox.hardening import Dropout


class JointDiscriminator(nn.Module):
    """D(x, z): an embedding of the sample and one of its latent side by side, then a perceptron.

    `of_x` makes `[B, width]` of samples; `parts.discriminator(outputs=width)` does. The latent passes two layers before
    it meets the sample, and both together two more, about as in Dumoulin et al. 2017 (appendix A). `dropout`: the share
    of the inputs of each of these layers, but for the latent itself, that is left out while training.
    """

    def __init__(self, of_x: nn.Module, z_dim: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.of_x = of_x
        self.of_z = nn.Sequential(nn.Linear(z_dim, width), *_activated(width, width, dropout))
        self.of_both = nn.Sequential(*_activated(2 * width, width, dropout), *_activated(width, 1, dropout))
        for layer in (*self.of_z, *self.of_both):
            if isinstance(layer, nn.Linear):  # nothing normalises these: keep the size of what passes (He et al. 2015)
                nn.init.kaiming_normal_(layer.weight, a=0.2)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the logit of each pair, `[B, 1]`, in float32."""
        output: Tensor = self.of_both(torch.cat([self.of_x(x), self.of_z(z)], 1))
        return exact(output)


def _activated(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.LeakyReLU(0.2), *([Dropout(dropout)] if dropout else []), nn.Linear(inputs, outputs)]


class PointDiscriminator(nn.Module):
    """D(x, z) of points: one network that sees the numbers of both side by side, as ALI's authors have it."""

    def __init__(self, of_both: nn.Module) -> None:
        super().__init__()
        self.of_both = of_both

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the logit of each pair, `[B, 1]`."""
        output: Tensor = self.of_both(torch.cat([x, z], 1))
        return output


def joint_discriminator(parts: Parts, width: int, *, dropout: float = 0.0) -> nn.Module:
    """Make D(x, z) of a backbone: for points its own discriminator of both, for images a `JointDiscriminator`."""
    if parts.data.is_image:
        of_x = parts.discriminator(outputs=width, norm="batch")
        return JointDiscriminator(of_x, parts.z_dim, width, dropout=dropout)
    return PointDiscriminator(parts.discriminator(channels=parts.data.shape[0] + parts.z_dim, norm="batch"))
