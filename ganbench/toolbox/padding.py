"""Convolutions of stride 2 that pad as TensorFlow's SAME, for networks that were published there."""

from __future__ import annotations

from torch import nn


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
