"""The small stacked-MNIST networks: parameters as published, layers in order, sides, statistics of the batch."""

from __future__ import annotations

import pytest
import torch
from ganbench_plugins.backbones.unrolled_mnist import Config, UnrolledMNIST
from torch import nn

from ganbench import DataSpec

DATA = DataSpec((3, 28, 28))


def parts(**options):
    backbone = UnrolledMNIST()
    backbone.config = Config(**options)
    return backbone(DATA)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    layers = [type(layer) for layer in network.modules() if not list(layer.children())]
    return [kind for kind in layers if kind is not nn.ZeroPad2d]


def test_parameters_are_as_many_as_in_the_authors_program():
    """By hand: weights and biases of each layer, a scale and a shift of each norm."""
    generator = 257 * 1024 + 2 * 64 + (9 * 64 + 1) * 32 + 2 * 32 + (9 * 32 + 1) * 16 + 2 * 16
    generator += (9 * 16 + 1) * 8 + 2 * 8 + (9 * 8 + 1) * 3
    assert parameters(parts().generator()) == generator == 287_875
    assert parameters(parts().discriminator()) == 585
    assert parameters(parts(discriminator_width=4).discriminator()) == 1889
    assert parameters(parts().discriminator(channels=6)) == 585 + 9 * 3 * 2  # packing widens the first layer alone


def test_layers_stand_in_the_published_order():
    found = kinds(parts().generator())
    block = [nn.BatchNorm2d, nn.ReLU]
    up = [*block, nn.ConvTranspose2d]
    assert found == [nn.Linear, nn.Unflatten, *up, *up, *up, *block, nn.Conv2d, nn.Tanh]
    down = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert kinds(parts().discriminator().trunk) == [*down, *down, *down, nn.Flatten]
    leaks = {layer.negative_slope for layer in parts().discriminator().modules() if isinstance(layer, nn.LeakyReLU)}
    assert leaks == {0.3} and parts().z_dim == 256


@pytest.mark.parametrize(("side", "sides"), [(28, [14, 7, 4]), (32, [16, 8, 4]), (9, [5, 3, 2]), (64, [32, 16, 8])])
def test_sides_halve_with_rounding_up(side, sides):
    network, seen = UnrolledMNIST()(DataSpec((3, side, side))), []
    for made, inputs in (
        (network.discriminator(), torch.randn(2, 3, side, side)),
        (network.generator(), torch.randn(2, 256)),
    ):
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(lambda layer, inputs, output: seen.append(tuple(output.shape[1:])))
        made(inputs)
    down = [(width, side, side) for width, side in zip((2, 4, 8), sides, strict=True)]
    up = [(width, side, side) for width, side in zip((64, 32, 16, 8), [*sides[::-1], side], strict=True)]
    assert seen == [*down, *up]


def test_weights_start_at_a_deviation_of_two_hundredths():
    torch.manual_seed(0)
    made = parts(width=32, discriminator_width=32)
    for network in (made.generator(), made.discriminator()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                expected = 0.0176 if isinstance(layer, nn.Conv2d) else 0.02  # convolutions are truncated
                assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
                assert not layer.bias.any()


def test_a_trained_generator_normalises_by_the_batch_it_makes_if_asked():
    """Then a sample depends on the others of its batch, and nothing is kept."""
    torch.manual_seed(0)
    z = torch.randn(16, 256)
    for batch_statistics in (False, True):
        G = parts(batch_statistics=batch_statistics).generator()
        G(z)
        G.eval()
        whole, half = G(z)[:8], G(z[:8])
        assert torch.allclose(whole, half, atol=1e-5) != batch_statistics
        assert bool(list(G.buffers())) != batch_statistics
