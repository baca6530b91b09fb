"""The small stacked-MNIST networks of Unrolled GAN (Metz et al., 2017), as PacGAN's authors repeat them."""

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

HALVINGS = 3


@dataclass(frozen=True)
class Config:
    """Options.

    width: G's channels at the full resolution, doubled at every halving (unrolled_GAN_experiment/D=0.25G/model.py).
    discriminator_width: D's and an encoder's channels at half the resolution, doubled likewise; 2 is a quarter of G, 4
        a half (D=0.25G/model.py, D=0.5G/model.py).
    batch_statistics: G, once trained, goes on to normalise by the batch it makes, which is of 256 samples here and of
        128 in the authors' program (the method sampler there).
    z_dim: numbers of a latent (D=0.25G/config.py).
    code: numbers of an autoencoder's code, at most (ours).
    """

    width: Count = 8
    discriminator_width: Count = 2
    batch_statistics: bool = False
    z_dim: Count = 256
    code: Count = 64


class UnrolledMNISTParts(MirroredParts):
    """Three (transposed) 3×3 convolutions of stride 2 and one linear layer in each network, one convolution more in G.

    Layers and initial weights are those of fjxmlzn/PacGAN, stacked_MNIST_experiments/unrolled_GAN_experiment, biases
    before a norm and the norm of D's first layer included. A side of 28 px halves to 14, 7 and 4, padded as TensorFlow
    pads.
    """

    def __init__(self, data: DataSpec, config: Config) -> None:
        super().__init__(data, config.z_dim, code=config.code)
        self.config, self.sides = config, [self.side]
        for _ in range(HALVINGS):
            self.sides.append((self.sides[-1] + 1) // 2)
        self.features = config.discriminator_width * 2 ** (HALVINGS - 1) * self.sides[-1] ** 2

    def initialise(self, layer: nn.Module) -> None:
        draw_truncated(layer)

    def upward(self, inputs: int, norm: Norm) -> list[nn.Module]:
        widths, side = [self.config.width * 2**level for level in range(HALVINGS, -1, -1)], self.sides[-1]
        layers: list[nn.Module] = [nn.Linear(inputs, widths[0] * side**2), nn.Unflatten(1, (widths[0], side, side))]
        for (above, below), side in zip(pairwise(widths), self.sides[-2::-1], strict=True):
            layers += [self._normalise(norm, above), nn.ReLU(), *same_deconvolution(above, below, side, kernel=3)]
        return [
            *layers,
            self._normalise(norm, widths[-1]),
            nn.ReLU(),
            nn.Conv2d(widths[-1], self.channels, 3, padding=1),
        ]

    def downward(self, channels: int, norm: Norm) -> list[nn.Module]:
        widths = [channels, *(self.config.discriminator_width * 2**level for level in range(HALVINGS))]
        layers: list[nn.Module] = []
        for (below, above), side in zip(pairwise(widths), self.sides, strict=False):
            layers += [*same_convolution(below, above, side, kernel=3), norm_of_maps(norm, above), nn.LeakyReLU(0.3)]
        return [*layers, nn.Flatten()]

    def _normalise(self, norm: Norm, width: int) -> nn.Module:
        if norm == "batch" and self.config.batch_statistics:
            return nn.BatchNorm2d(width, track_running_stats=False)
        return norm_of_maps(norm, width)


class UnrolledMNIST(SquareBackbone):
    """The networks behind the published mode counts of discriminators much smaller than their generator."""

    name = "unrolled-mnist"
    summary = "the stacked-MNIST networks of Unrolled GAN, D a quarter or a half of G, for square images of 9 to 64 px"
    config: Config = Config()
    sides = "9 to 64 px"

    def fits(self, side: int) -> bool:
        return 9 <= side <= 64

    def parts(self, data: DataSpec) -> Parts:
        return UnrolledMNISTParts(data, self.config)


@hookimpl
def ganbench_backbones() -> list[Backbone]:
    return [UnrolledMNIST()]
