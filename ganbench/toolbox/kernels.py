"""Kernels between samples, and the maximum mean discrepancy that they measure (Gretton et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganbench.contract.data import exact
from ganbench.toolbox.ranks import whole_batch

Kernel = Callable[[Tensor, Tensor], Tensor]


def gaussian_kernel(x: Tensor, y: Tensor, deviations: Sequence[float] = (1.0,)) -> Tensor:
    """Return Σ exp(-‖xᵢ - yⱼ‖² / 2σ²) over the deviations σ, `[len(x), len(y)]`."""
    distances = _squared_distances(x, y)
    return torch.stack([(distances / (-2 * deviation**2)).exp() for deviation in deviations]).sum(0)


def rational_quadratic_kernel(x: Tensor, y: Tensor, shapes: Sequence[float] = (1.0,)) -> Tensor:
    """Return Σ (1 + ‖xᵢ - yⱼ‖² / 2α)^(-α) over the shapes α, `[len(x), len(y)]`."""
    distances = _squared_distances(x, y)
    return torch.stack([(1 + distances / (2 * shape)) ** -shape for shape in shapes]).sum(0)


def dot_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return ⟨xᵢ, yⱼ⟩, `[len(x), len(y)]`; not by a matrix product, which autocast would make coarse."""
    return (x[:, None] * y[None]).sum(2)


def mmd_squared(kernel: Kernel, x: Tensor, y: Tensor, *, biased: bool = False) -> Tensor:
    """Return MMD² between the samples `x` and `y`, both `[n, features]`, in float32 at least.

    Unbiased (Gretton et al. 2012, lemma 6) it can be negative; biased (eq. 5), that is with the kernel of each sample
    and itself, it cannot. Of a run on several devices, all ranks' samples are compared.
    """
    x, y = whole_batch(exact(x)), whole_batch(exact(y))
    cross = kernel(x, y).mean()
    if biased:
        return kernel(x, x).mean() + kernel(y, y).mean() - 2 * cross
    return _mean_of_pairs(kernel(x, x)) + _mean_of_pairs(kernel(y, y)) - 2 * cross


def witness(kernel: Kernel, at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return E k(·, x) - E k(·, y), the function whose means on `x` and `y` MMD² tells apart, at each row of `at`."""
    at, x, y = exact(at), whole_batch(exact(x)), whole_batch(exact(y))
    return kernel(at, x).mean(1) - kernel(at, y).mean(1)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x[:, None] - y[None]).square().sum(2)  # by differences: never negative, and exact for close samples


def _mean_of_pairs(values: Tensor) -> Tensor:
    n = len(values)
    return (values.sum() - values.diagonal().sum()) / (n * (n - 1))
