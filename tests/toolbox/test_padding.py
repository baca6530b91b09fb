"""Padding as TensorFlow's SAME, against a convolution written out in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from ganbench import same_convolution, same_deconvolution


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


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_convolutions_pad_as_tensorflow_does(side, size):
    torch.manual_seed(side)
    layer = nn.Sequential(*same_convolution(2, 3, side, kernel=size)).double()
    x = torch.randn(1, 2, side, side, dtype=torch.float64)
    kernel, bias = (layer[-1].get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    expected = convolve_same(x[0].numpy(), kernel) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("side", [4, 5, 6, 7, 14])
def test_deconvolutions_are_the_transpose_of_that_convolution(side, size):
    """So TensorFlow defines them: one column of the matrix for each pixel of the larger image."""
    torch.manual_seed(side)
    layer = nn.Sequential(*same_deconvolution(3, 2, side, kernel=size)).double()
    kernel, bias = layer[0].weight.detach().numpy(), layer[0].bias.detach().numpy()
    half = -(-side // 2)
    pixels = np.eye(2 * side * side).reshape(-1, 2, side, side)
    matrix = np.stack([convolve_same(pixel, kernel).ravel() for pixel in pixels])
    x = torch.randn(1, 3, half, half, dtype=torch.float64)
    expected = (matrix @ x.numpy().ravel()).reshape(2, side, side) + bias[:, None, None]
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)
