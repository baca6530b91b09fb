"""Noise for images whose pixels have 256 levels."""

from __future__ import annotations

import torch
from torch import Tensor


def dequantise(samples: Tensor) -> Tensor:
    """Return images with noise of one level: (k + u) / 128 - 1 of level k, u ~ U[0, 1); points stay as they are.

    So WGAN-GP's and SNGAN's authors prepare real images of CIFAR-10 (`gan_cifar_resnet.py`, `datasets/cifar10.py`).
    """
    if samples.ndim == 2:
        return samples
    levels = (samples + 1) * 127.5
    return (levels + torch.rand_like(levels)) / 128 - 1
