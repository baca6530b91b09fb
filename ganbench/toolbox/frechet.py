"""The Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganbench.errors import UserError

MANY = 512
"""Where samples and features are more than these, a decomposition takes seconds, and quicker ways are tried first."""
BLOCK = 256  # columns of a covariance worked on at once


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
    mean_a, rows_a = _moments(a)
    mean_b, rows_b = _moments(b)
    scale = float(rows_a.square().sum() + rows_b.square().sum())
    if not math.isfinite(scale):
        raise ArithmeticError(f"the variances of a Fréchet distance add up to {scale}")
    tolerance = 0.5e-7 * scale
    trace = _by_cholesky(rows_a, rows_b, tolerance)
    if trace is None:
        trace = _nuclear_norm(_factor(rows_a) @ _factor(rows_b).T, tolerance)
    spread = scale - 2 * trace
    distance = float((mean_a - mean_b).square().sum()) + max(spread, 0.0)
    if not math.isfinite(distance) or spread < -1e-6 * scale:
        raise ArithmeticError(f"the Fréchet distance came out as {distance}, its covariance part as {spread}")
    return distance


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, and a factor F `[n, d]` of the covariance, Σ = FᵀF: the deviations from the mean, scaled."""
    rows = features.detach().cpu().double()
    mean = rows.mean(0)
    return mean, (rows - mean).div_(math.sqrt(len(rows) - 1))


def _by_cholesky(a: Tensor, b: Tensor, tolerance: float) -> float | None:
    """Return the trace from the covariances themselves, in half the time of `_factor`.

    None where there are few samples or features, or rounding would matter: of sets of low rank, for one.
    """
    if min(len(a), len(b)) <= a.shape[1] or a.shape[1] <= MANY:
        return None
    factors, noise = [], 1.0
    for rows in (a, b):
        covariance = _gram(rows)
        factor, fault = torch.linalg.cholesky_ex(covariance)
        if fault:
            return None
        factors.append(factor)
        noise *= math.sqrt(2) * float(covariance.norm())  # no less than the norm of the whole, of which this is half
    return _sum_of_roots(factors[0].T @ factors[1], tolerance, noise)


def _gram(matrix: Tensor) -> Tensor:
    """Return AᵀA, of which the lower triangle holds: all that is read of a symmetric matrix."""
    gram = matrix.new_zeros(matrix.shape[1], matrix.shape[1])
    for start in range(0, len(gram), BLOCK):
        gram[start:, start : start + BLOCK] = matrix[:, start:].T @ matrix[:, start : start + BLOCK]
    return gram


def _factor(rows: Tensor) -> Tensor:
    """Return a factor `[min(n, d), d]` of the same covariance."""
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows


def _nuclear_norm(matrix: Tensor, tolerance: float) -> float:
    """Return the sum of the singular values."""
    found = _sum_of_roots(matrix, tolerance) if min(matrix.shape) > MANY else None
    return float(torch.linalg.svdvals(matrix).sum()) if found is None else found


def _sum_of_roots(matrix: Tensor, tolerance: float, noise: float = 0.0) -> float | None:
    """Return the sum of the singular values from the Gram matrix, in a third of the time; None beyond the tolerance.

    `noise`: what the Gram matrix is off by already is this times the rounding of a number.
    """
    squares = torch.linalg.eigvalsh(_gram(matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix)).clamp(min=0)
    roots = squares.sqrt()
    # Each square is off by so much at most; its root by min(√error, error/root).
    error = 4 * torch.finfo(matrix.dtype).eps * (squares[-1] + noise)
    return float(roots.sum()) if float((error / roots).clamp(max=error.sqrt()).sum()) <= tolerance else None
