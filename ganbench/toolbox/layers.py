"""Layers that several plugins share: norms by name, initial weights, noise, padding, a discriminator of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench.contract.backbone import Parts
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
        deviation, mean = torch.std_mean(y.float().transpose(0, 1).flatten(1), 1, correction=0)
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
            made = nn.Sequential(nn.Dropout(dropout), made)
        setattr(parent, name, made)
    entry: list[nn.Module] = [GaussianNoise(noise)] if noise else []
    entry += [nn.Dropout(input_dropout)] if input_dropout else []
    return nn.Sequential(*entry, trunk) if entry else trunk


def same_convolution(inputs: int, outputs: int, side: int, *, kernel: int = 5) -> list[nn.Module]:
    """Make a convolution of stride 2 from `side` to ⌈side/2⌉ px, padded as TensorFlow's SAME.

    That pads as little as it takes and, where this is an odd number of pixels, the larger half after the image.
    """
    before, after = _padding(side, kernel)
    if before == after:
        return [nn.Conv2d(inputs, outputs, kernel, 2, before)]
    return [nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(inputs, outputs, kernel, 2)]


def same_deconvolution(inputs: int, outputs: int, side: int, *, kernel: int = 5) -> list[nn.Module]:
    """Make the transpose of `same_convolution`, from ⌈side/2⌉ to `side` px."""
    before, after = _padding(side, kernel)
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, 2, before)
    more = before - after
    return [layer, nn.ZeroPad2d((0, more, 0, more))] if more else [layer]  # negative padding cuts off


def _padding(side: int, kernel: int) -> tuple[int, int]:
    missing = max(0, 2 * ((side + 1) // 2 - 1) + kernel - side)
    return missing // 2, missing - missing // 2


class Dropout(nn.Dropout):
    """Dropout by uniform numbers, whose draws do not depend on what is dropped: a step that has it can be compiled."""

    def forward(self, input: Tensor) -> Tensor:
        """Leave out a share `p` of the numbers while training, and make up for it."""
        if not self.training:
            return input
        return input * (torch.rand(input.shape, device=input.device) >= self.p) / (1 - self.p)


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
        return output.float()


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
