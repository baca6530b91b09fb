"""The stacked-MNIST networks of VEEGAN (Srivastava et al., 2017) and PacGAN (Lin et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from ganbench import (
    Backbone,
    Count,
    DataSpec,
    MirroredParts,
    Norm,
    Parts,
    SquareBackbone,
    draw_truncated,
    hookimpl,
    norm_of_maps,
    same_convolution,
    same_deconvolution,
)

HALVINGS = 4


@dataclass(frozen=True)
class Config:
    """Options.

    width: channels at half the resolution, doubled at every halving (stacked_MNIST_experiments/VEEGAN_experiment/
        model.py of PacGAN's authors).
    z_dim: numbers of a latent (config.py there).
    code: numbers of an autoencoder's code, at most (ours).
    """

    width: Count = 64
    z_dim: Count = 100
    code: Count = 64


class VEEGANParts(MirroredParts):
    """Four (transposed) 5×5 convolutions of stride 2 and one linear layer in each network.

    Layers and initial weights are those of the code that PacGAN's authors published for VEEGAN's experiment
    (fjxmlzn/PacGAN, stacked_MNIST_experiments), biases before a norm included. A side of 28 px halves to 14, 7, 4
    and 2, padded as TensorFlow pads. The authors' prior is U(-1, 1); a prior is a matter of the variant here.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        self.sides = [self.side]
        for _ in range(HALVINGS):
            self.sides.append((self.sides[-1] + 1) // 2)
        self.widths = [config.width * 2**level for level in range(HALVINGS)]
        self.features = self.widths[-1] * self.sides[-1] ** 2

    def initialise(self, layer: nn.Module) -> None:
        draw_truncated(layer)

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        side = self.sides[-1]
        layers: list[nn.Module] = [nn.Linear(inputs, self.features), nn.Unflatten(1, (self.widths[-1], side, side))]
        steps = pairwise([*self.widths[::-1], self.channels])
        for (above, below), side in zip(steps, self.sides[-2::-1], strict=True):
            layers += [norm_of_maps(norm, above), nn.ReLU(), *same_deconvolution(above, below, side)]
        return layers

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        layers = [*same_convolution(channels, self.widths[0], self.sides[0]), nn.LeakyReLU(0.2)]
        for (below, above), side in zip(pairwise(self.widths), self.sides[1:], strict=False):
            layers += [*same_convolution(below, above, side), norm_of_maps(norm, above), nn.LeakyReLU(0.2)]
        return [*layers, nn.Flatten()]


class VEEGAN(SquareBackbone):
    """The networks behind the published mode counts on stacked MNIST, their sides halved with rounding up."""

    name = "veegan"
    summary = "the stacked-MNIST networks of VEEGAN and PacGAN, for square images of 17 to 128 px"
    config: Config = Config()
    sides = "17 to 128 px"

    def fits(self, side: int) -> bool:
        return 17 <= side <= 128

    def parts(self, data: DataSpec) -> Parts:
        return VEEGANParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [VEEGAN()]
