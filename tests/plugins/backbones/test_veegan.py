"""The stacked-MNIST networks: TensorFlow's padding, layers, parameters, initial weights."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.veegan import VEEGAN, same_convolution, same_deconvolution
from torch import nn

from ganbench import DataSpec


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in network.modules() if not list(layer.children())]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolve_same(x, kernel, stride=2):
    """Correlate `[C, H, W]` with `[O, C, k, k]`, padded by TensorFlow's rule.

    The output has ⌈n / stride⌉ px; what is missing is padded, the smaller half of it before.
    """
    size, n = kernel.shape[-1], x.shape[-1]
    out = -(-n // stride)
    missing = max((out - 1) * stride + size - n, 0)
    padded = np.zeros((x.shape[0], n + missing, n + missing))
    padded[:, missing // 2 : missing // 2 + n, missing // 2 : missing // 2 + n] = x
    result = np.zeros((kernel.shape[0], out, out))
    for i in range(out):
        for j in range(out):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            result[:, i, j] = np.tensordot(kernel, window, 3)
    return result


@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_convolutions_pad_as_tensorflow_does(side):
    torch.manual_seed(side)
    layer = nn.Sequential(*same_convolution(2, 3, side)).double()
    x = torch.randn(1, 2, side, side, dtype=torch.float64)
    kernel, bias = (layer[-1].get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    expected = convolve_same(x[0].numpy(), kernel) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_deconvolutions_are_the_transpose_of_that_convolution(side):
    """So TensorFlow defines them: one column of the matrix for each pixel of the larger image."""
    torch.manual_seed(side)
    layer = nn.Sequential(*same_deconvolution(3, 2, side)).double()
    kernel, bias = layer[0].weight.detach().numpy(), layer[0].bias.detach().numpy()
    half = -(-side // 2)
    pixels = np.eye(2 * side * side).reshape(-1, 2, side, side)
    matrix = np.stack([convolve_same(pixel, kernel).ravel() for pixel in pixels])
    x = torch.randn(1, 3, half, half, dtype=torch.float64)
    expected = (matrix @ x.numpy().ravel()).reshape(2, side, side) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


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
