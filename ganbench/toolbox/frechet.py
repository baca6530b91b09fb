"""The Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganbench.errors import UserError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two sets of features `[n, d]` and `[m, d]`.

    ‖μ₁−μ₂‖² + Tr Σ₁ + Tr Σ₂ − 2 Tr √(Σ₁Σ₂) (Dowson & Landau 1982), in float64 on the host, covariances with 1/(n−1).
    With Σ₁ = LLᵀ and Σ₂ = MMᵀ the last trace is the sum of the singular values of LᵀM: no matrix square root, no term
    added to the diagonal, exact where n < d. It is found to 1e-7 of Tr Σ₁ + Tr Σ₂ or better, where both sets have more
    than 512 samples and features, else to rounding. A difference of the traces between −1e-6 of their sum and 0 is
    rounding and counts as 0. Raises `UserError` for fewer than 2 samples, sets of different width, values not finite.
    """
    for features in (a, b):
        if features.ndim != 2 or features.shape[1] != a.shape[1]:
            raise UserError(f"a Fréchet distance needs two sets [n, d], not {tuple(a.shape)} and {tuple(b.shape)}")
        if len(features) < 2:
            raise UserError(f"a Fréchet distance needs at least 2 samples of each set, not {len(features)}")
        if not features.isfinite().all():
            raise UserError("a Fréchet distance needs finite features, but some are infinite or not a number")
    mean_a, factor_a = _moments(a)
    mean_b, factor_b = _moments(b)
    scale = float(factor_a.square().sum() + factor_b.square().sum())
    if not math.isfinite(scale):
        raise ArithmeticError(f"the variances of a Fréchet distance add up to {scale}")
    spread = scale - 2 * _nuclear_norm(factor_a @ factor_b.T, tolerance=0.5e-7 * scale)
    distance = float((mean_a - mean_b).square().sum()) + max(spread, 0.0)
    if not math.isfinite(distance) or spread < -1e-6 * scale:
        raise ArithmeticError(f"the Fréchet distance came out as {distance}, its covariance part as {spread}")
    return distance


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and a factor F `[min(n, d), d]` of the covariance, Σ = FᵀF."""
    rows = features.detach().cpu().double()
    mean = rows.mean(0)
    factor = (rows - mean) / math.sqrt(len(rows) - 1)
    return mean, torch.linalg.qr(factor, mode="r").R if len(rows) > rows.shape[1] else factor


def _nuclear_norm(matrix: Tensor, tolerance: float) -> float:
    """Return the sum of the singular values."""
    if min(matrix.shape) > 512:  # a decomposition takes seconds; that of the Gram matrix a third of them
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        squares = torch.linalg.eigvalsh(gram).clamp(min=0)
        roots = squares.sqrt()
        error = 4 * torch.finfo(gram.dtype).eps * squares[-1]  # of each square; of its root min(√error, error/root)
        if float((error / roots).clamp(max=error.sqrt()).sum()) <= tolerance:
            return float(roots.sum())
    return float(torch.linalg.svdvals(matrix).sum())
