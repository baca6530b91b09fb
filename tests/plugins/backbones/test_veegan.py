"""The stacked-MNIST networks: sides, layers, parameters, initial weights."""

from itertools import pairwise

import pytest
import torch
from ganbench_plugins.backbones.veegan import VEEGAN
from torch import nn

from ganbench import DataSpec


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in network.modules() if not list(layer.children())]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("side", "sides"), [(28, [14, 7, 4, 2]), (32, [16, 8, 4, 2]), (17, [9, 5, 3, 2]), (64, [32, 16, 8, 4])]
)
def test_sides_halve_with_rounding_up(side, sides):
    with torch.device("meta"):
        parts = VEEGAN()(DataSpec((3, side, side)))
        seen = []
        for network, source in (
            (parts.discriminator().trunk, torch.zeros(2, 3, side, side)),
            (parts.generator(), torch.zeros(2, 100)),
        ):
            x = source
            for layer in network:
                x = layer(x)
                if isinstance(layer, nn.BatchNorm2d | nn.LeakyReLU) and x.ndim == 4:
                    seen.append(tuple(x.shape[1:]))
    maps = [(width, side, side) for width, side in zip((64, 128, 256, 512), sides, strict=True)]
    assert list(dict.fromkeys(seen)) == maps
    assert seen[-4:] == maps[::-1]


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        parts = VEEGAN()(DataSpec((3, 28, 28)))
        generator, discriminator, packed = parts.generator(), parts.discriminator(), parts.discriminator(channels=6)
    widths = (64, 128, 256, 512)
    steps = sum(25 * below * above + above + 2 * above for below, above in pairwise(widths))
    assert parameters(discriminator) == 25 * 3 * 64 + 64 + steps + 4 * 512 + 1
    assert parameters(packed) - parameters(discriminator) == 25 * 3 * 64
    steps = sum(25 * above * below + below + 2 * below for below, above in pairwise(widths))
    assert parameters(generator) == 101 * 4 * 512 + 2 * 512 + steps + 25 * 64 * 3 + 3
    assert round(parameters(generator) / 1e6, 2) == 4.51
    assert round(parameters(discriminator) / 1e6, 2) == 4.31


def test_layers_stand_in_the_published_order():
    with torch.device("meta"):
        parts = VEEGAN()(DataSpec((3, 28, 28)))
        generator, discriminator = parts.generator(), parts.discriminator()
    pads = (nn.ZeroPad2d,)
    found = [kind for kind in kinds(generator) if kind not in pads]
    assert found == [nn.Linear, nn.Unflatten, *4 * [nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d], nn.Tanh]
    found = [kind for kind in kinds(discriminator.trunk) if kind not in pads]
    assert found == [nn.Conv2d, nn.LeakyReLU, *3 * [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU], nn.Flatten]
    slopes = {layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.2}
    assert parts.z_dim == 100


def test_weights_start_at_a_deviation_of_two_hundredths():
    torch.manual_seed(0)
    parts = VEEGAN()(DataSpec((3, 28, 28)))
    for network in (parts.generator(), parts.discriminator()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                expected = 0.0176 if isinstance(layer, nn.Conv2d) else 0.02  # convolutions are truncated
                assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
                assert not layer.bias.any()
