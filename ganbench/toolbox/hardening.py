"""What keeps a discriminator from learning by heart: noise, dropout, weight norm (Salimans et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganbench.toolbox.ranks import whole_batch


class Dropout(nn.Dropout):
    """Dropout by uniform numbers, whose draws do not depend on what is dropped: a step that has it can be compiled."""

    def forward(self, input: Tensor) -> Tensor:
        """Leave out a share `p` of the numbers while training, and make up for it."""
        if not self.training:
            return input
        return input * (torch.rand(input.shape, device=input.device) >= self.p) / (1 - self.p)


class GaussianNoise(nn.Module):
    """Add N(0, deviation²) to every number while training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with noise, or as it is in evaluation mode."""
        return x + self.deviation * torch.randn_like(x) if self.training else x


class WeightNorm(nn.Module):
    """A convolution or linear layer with weights of unit length, scaled and shifted by the first batch that it sees.

    On that batch each output has mean 0 and the given `deviation` (Salimans & Kingma 2016, as in the GANs of Salimans
    et al. 2016). An offset is trained; the scale only where `trained`, in the last layer of those.
    """

    mean: Tensor
    unit: Tensor
    fresh: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, *, deviation: float = 1.0, trained: bool = False) -> None:
        super().__init__()
        outputs = len(layer.weight)
        layer.bias = None
        self.layer, self.deviation = layer, deviation
        self.offset = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.ones(outputs)) if trained else None
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("unit", torch.ones(outputs))
        self.register_buffer("fresh", torch.ones((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; in training mode the first batch sets mean and unit."""
        length = self.layer.weight.flatten(1).square().sum(1).add(1e-6).sqrt()
        y: Tensor = self.layer(x)
        if self.training:
            self.settle((y / spread(length, y)).detach())
        # A second batch may pass before the first one's gradient is taken, so these are copies.
        mean, factor = self.mean.clone(), self.deviation / self.unit
        factor = factor if self.scale is None else factor * self.scale
        return y * spread(factor / length, y) + spread(self.offset - mean * factor, y)

    @torch.no_grad()
    def settle(self, y: Tensor) -> None:
        """Set mean and unit by the first batch that passes; without asking the device."""
        deviation, mean = torch.std_mean(whole_batch(y.float()).transpose(0, 1).flatten(1), 1, correction=0)
        self.mean.copy_(torch.where(self.fresh, mean, self.mean))
        self.unit.copy_(torch.where(self.fresh, deviation.clamp_min(1e-6), self.unit))
        self.fresh.zero_()


def spread(values: Tensor, y: Tensor) -> Tensor:
    """Give a number for each output the shape to meet maps or units `y`."""
    return values.reshape(1, -1, *[1] * (y.ndim - 2))


def hardened(
    trunk: nn.Module, *, weight_norm: bool = False, dropout: float = 0.0, noise: float = 0.0, input_dropout: float = 0.0
) -> nn.Module:
    """Give the layers below a discriminator's head, changed in place, what Salimans et al. 2016 train theirs with.

    `weight_norm` of all layers; `dropout` behind every strided convolution, or before all layers but the first where
    there is none; on the input Gaussian `noise` of this deviation and `input_dropout`.
    """
    found = [(parent, name, layer) for parent in trunk.modules() for name, layer in parent.named_children()]
    layers = [item for item in found if isinstance(item[2], nn.Conv2d | nn.Linear)]
    strided = [isinstance(layer, nn.Conv2d) and max(layer.stride) > 1 for _, _, layer in layers]
    for number, (parent, name, layer) in enumerate(layers):
        made: nn.Module = WeightNorm(layer) if weight_norm else layer  # type: ignore[arg-type]
        if dropout and number and (strided[number - 1] or not any(strided)):
            made = nn.Sequential(Dropout(dropout), made)
        setattr(parent, name, made)
    entry: list[nn.Module] = [GaussianNoise(noise)] if noise else []
    entry += [Dropout(input_dropout)] if input_dropout else []
    return nn.Sequential(*entry, trunk) if entry else trunk
