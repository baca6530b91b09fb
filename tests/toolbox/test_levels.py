"""Noise of one level on images."""

import torch

from ganbench import dequantise, to_float


def test_noise_of_one_level_lies_above_each_level():
    levels = torch.arange(256, dtype=torch.uint8).repeat(400, 1)[:, None, None]
    torch.manual_seed(0)
    noisy = dequantise(to_float(levels)) * 128 + 128 - levels
    assert -1e-4 < noisy.min() < 0.01 and 0.99 < noisy.max() < 1 + 1e-4
    torch.testing.assert_close(noisy.mean((0, 1, 2)), torch.full((256,), 0.5), rtol=0, atol=0.1)
    assert abs(float(noisy.var()) - 1 / 12) < 0.002


def test_points_have_no_levels():
    points = torch.randn(8, 2)
    assert torch.equal(dequantise(points), points)
