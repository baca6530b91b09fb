"""SNGAN's plain networks: the rows of table 3, parameters, initial weights."""

import pytest
import torch
from ganbench_plugins.backbones.sngan import SNGAN
from torch import nn

from ganbench import DataSpec


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def full_size(side, channels=3):
    return SNGAN()(DataSpec((channels, side, side)))


@pytest.mark.parametrize("side", [32, 48, 64, 128])
def test_layers_are_the_rows_of_table_3(side):
    with torch.device("meta"):
        generator, discriminator = full_size(side).generator(), full_size(side).discriminator(norm="none")
        inner = generator[:4](torch.zeros(2, 128))
        last = discriminator.trunk[:-1](torch.zeros(2, 3, side, side))
    assert inner.shape == (2, 512, side // 8, side // 8)
    assert last.shape == (2, 512, side // 8, side // 8)

    def rows(network, kind):
        found = [layer for layer in network.modules() if isinstance(layer, kind)]
        return [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in found]

    assert rows(generator, nn.ConvTranspose2d) == [(256, 4, 2), (128, 4, 2), (64, 4, 2)]
    assert rows(generator, nn.Conv2d) == [(3, 3, 1)]
    halves = [row for width in (64, 128, 256) for row in ((width, 3, 1), (width, 4, 2))]
    assert rows(discriminator, nn.Conv2d) == [*halves, (512, 3, 1)]
    slopes = [layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.1] * 7


@pytest.mark.parametrize("side", [32, 48, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_are_as_many_as_the_layers_say(side, channels):
    with torch.device("meta"):
        parts = full_size(side, channels)
        generator, discriminator = parts.generator(), parts.discriminator(norm="none")
        normalised = parts.discriminator(norm="batch")
    units = 512 * (side // 8) ** 2
    up = 128 * units + 3 * units + 16 * (512 * 256 + 256 * 128 + 128 * 64) + 3 * (256 + 128 + 64)
    assert parameters(generator) == up + 9 * 64 * channels + channels
    down = 9 * (channels * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 16 * (64**2 + 128**2 + 256**2)
    down += 2 * (64 + 128 + 256) + 512 + units + 1
    assert parameters(discriminator) == down
    assert parameters(normalised) == down + 2 * (64 + 2 * 128 + 2 * 256 + 512)


def test_the_generator_is_normalised_but_at_its_output():
    with torch.device("meta"):
        generator = full_size(32).generator()
    assert [type(layer) for layer in generator] == [
        *(nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Unflatten),
        *3 * [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU],
        *(nn.Conv2d, nn.Tanh),
    ]


def test_weights_start_at_a_deviation_of_two_hundredths():
    torch.manual_seed(0)
    parts = full_size(32)
    assert parts.z_dim == 128
    for network in (parts.generator(), parts.discriminator()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert not layer.bias.any()
