"""Layers that several plugins share: normalisation by name, and initial weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm

from ganbench.contract.types import Norm

DEVIATION = 0.02
OF_MAPS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "spectral": lambda channels: nn.Identity(),
    "none": lambda channels: nn.Identity(),
}
OF_UNITS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "instance": lambda width: nn.Identity(),  # units have no pixels to take a mean over
    "spectral": lambda width: nn.Identity(),
    "none": lambda width: nn.Identity(),
}


def norm_of_maps(norm: Norm, channels: int) -> nn.Module:
    """Make the normalisation of feature maps `[B, channels, H, W]`; layer norm is over channels and pixels.

    Spectral norm normalises weights, not features: `normalise_weights` adds it to a whole network.
    """
    return OF_MAPS[norm](channels)


def norm_of_units(norm: Norm, width: int) -> nn.Module:
    """Make the normalisation of features `[B, width]`; instance norm leaves them as they are."""
    return OF_UNITS[norm](width)


def normalise_weights(network: nn.Module) -> None:
    """Divide the weights of every convolution and linear layer by their largest singular value.

    One power iteration in each forward pass while training (Miyato et al. 2018, algorithm 1).
    """
    for layer in [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]:
        spectral_norm(layer)


class ExactSpectralNorm(_SpectralNorm):
    """PyTorch's, in the type of the weights: autocast on a GPU would take σ from products of bfloat16."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight / σ`; while training after one more power iteration."""
        with torch.autocast(weight.device.type, enabled=False):
            normalised: Tensor = super().forward(weight)
        return normalised


def find_sigmas_exactly(network: nn.Module) -> None:
    """Let whatever PyTorch's `spectral_norm` normalises in a network keep its σ in float32 under autocast."""
    for part in network.modules():
        if type(part) is _SpectralNorm:
            part.__class__ = ExactSpectralNorm


def draw_normal(layer: nn.Module) -> None:
    """Draw the weights of a (transposed) convolution or linear layer from N(0, 0.02); its biases are zero.

    For `network.apply`; other layers, those of normalisation among them, are left as they are.
    """
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0, DEVIATION)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def draw_truncated(layer: nn.Module) -> None:
    """Do the same as `draw_normal`, but draw a convolution's weights again where they pass two standard deviations.

    So do the TensorFlow codes of GANs that descend from carpedm20/DCGAN-tensorflow; transposed convolutions and
    linear layers are not truncated there.
    """
    draw_normal(layer)
    if isinstance(layer, nn.Conv2d):
        nn.init.trunc_normal_(layer.weight, 0, DEVIATION, -2 * DEVIATION, 2 * DEVIATION)
