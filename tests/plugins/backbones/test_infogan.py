"""The networks of "Are GANs Created Equal?": layers, parameters, initial weights."""

import pytest
import torch
from ganbench_plugins.backbones.infogan import InfoGAN
from torch import nn

from ganbench import DataSpec


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in network.modules() if not list(layer.children())]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def full_size(part, side, channels, **arguments):
    with torch.device("meta"):
        return getattr(InfoGAN()(DataSpec((channels, side, side))), part)(**arguments)


@pytest.mark.parametrize(
    ("side", "channels", "generator", "discriminator"),
    [(28, 1, 6.64, 6.56), (32, 3, 8.62, 8.52), (64, 3, 33.9, 33.7)],
)
def test_parameters_are_as_many_as_published(side, channels, generator, discriminator):
    """Millions of the authors' networks, D without batch norm."""
    found = (
        parameters(full_size("generator", side, channels)),
        parameters(full_size("discriminator", side, channels, norm="none")),
    )
    digits = 1 if generator > 10 else 2
    assert [round(count / 1e6, digits) for count in found] == [generator, discriminator]


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_parameters_are_as_many_as_the_layers_say(side, channels):
    maps = 128 * (side // 4) ** 2
    up = 64 * 1024 + 1024 + 2 * 1024 + 1024 * maps + maps + 2 * maps
    up += 16 * 128 * 64 + 64 + 2 * 64 + 16 * 64 * channels + channels
    assert parameters(full_size("generator", side, channels)) == up
    down = 16 * channels * 64 + 64 + 16 * 64 * 128 + 128 + maps * 1024 + 1024 + 1024 + 1
    assert parameters(full_size("discriminator", side, channels, norm="none")) == down
    for norm in ("batch", "layer"):
        assert parameters(full_size("discriminator", side, channels, norm=norm)) == down + 2 * 128 + 2 * 1024
    assert parameters(full_size("discriminator", side, channels, norm="instance")) == down + 2 * 128


def test_the_autoencoder_of_began_has_as_many_parameters_as_published():
    """1.3 M where the discriminator has 8.5 M, as the authors' code says at 32 px."""
    assert round(parameters(full_size("autoencoder", 32, 3)) / 1e6, 1) == 1.3
    assert round(parameters(full_size("discriminator", 32, 3)) / 1e6, 1) == 8.5


def test_layers_stand_in_the_published_order():
    generator, discriminator = full_size("generator", 28, 1), full_size("discriminator", 28, 1)
    dense = [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU]
    assert kinds(generator) == [
        *(*dense, *dense, nn.Unflatten),
        *(nn.ConvTranspose2d, nn.BatchNorm2d, nn.LeakyReLU, nn.ConvTranspose2d, nn.Tanh),
    ]
    assert kinds(discriminator.trunk) == [
        *(nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.Flatten),
        *dense,
    ]
    layers = [*generator.modules(), *discriminator.modules()]
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert {layer.eps for layer in layers if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)} == {1e-3}
    assert InfoGAN()(DataSpec((1, 28, 28))).z_dim == 64


def test_weights_start_at_a_deviation_of_two_hundredths():
    torch.manual_seed(0)
    parts = InfoGAN()(DataSpec((3, 32, 32)))
    for network in (parts.generator(), parts.discriminator(), parts.autoencoder()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                expected = 0.0176 if isinstance(layer, nn.Conv2d) else 0.02  # convolutions are truncated
                assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
                assert not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                assert (layer.weight == 1).all() and not layer.bias.any()
