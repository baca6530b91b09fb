"""Divergences of two densities, and the bounds on them that a discriminator's ratio of densities gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganbench.errors import UserError
from ganbench.toolbox.kernels import Kernel

Distances: TypeAlias = "dict[str, tuple[float, float]]"
"""Value and slope by the name of a divergence."""
LOG_2 = math.log(2)
POINTS = 4001
KINKED = {"wasserstein", "total-variation"}
"""What has no slope where the densities are one."""
MOST_APART = 12.0
"""Deviations: beyond, e^(2 log(p/q)) leaves float64 where Pearson's integrand still counts."""


class FDivergence(NamedTuple):
    """D_f(P‖Q) = ∫ q f(p/q) by its variational form: E_P T - E_Q f*(T) (Nowozin et al. 2016, eq. 4).

    `on_p`: the optimal T, f'(p/q), `on_q`: f*(f'(p/q)), both as functions of log(p/q). `apart`: the divergence of two
    densities that do not meet, f(0) + lim f(u)/u.
    """

    on_p: Callable[[Tensor], Tensor]
    on_q: Callable[[Tensor], Tensor]
    apart: float


F_DIVERGENCES: Mapping[str, FDivergence] = {
    "kl": FDivergence(lambda r: 1 + r, lambda r: r.exp(), math.inf),
    "reverse-kl": FDivergence(lambda r: -(-r).exp(), lambda r: r - 1, math.inf),
    "pearson": FDivergence(lambda r: 2 * r.expm1(), lambda r: (2 * r).expm1(), math.inf),
    "hellinger": FDivergence(lambda r: -(-r / 2).expm1(), lambda r: (r / 2).expm1(), 2.0),
    "jensen-shannon": FDivergence(lambda r: LOG_2 - softplus(-r), lambda r: softplus(r) - LOG_2, 2 * LOG_2),
    "gan": FDivergence(lambda r: -softplus(-r), lambda r: softplus(r), 0.0),
    "total-variation": FDivergence(lambda r: r.sign() / 2, lambda r: r.sign() / 2, 1.0),
    "least-squares": FDivergence(
        lambda r: 1 - 4 * (-r).sigmoid().square(), lambda r: 4 * r.sigmoid().square() - 1, 2.0
    ),
}
"""By the names of Nowozin et al. 2016, table 1, and what D of least squares measures.

pearson: ∫ (p - q)² / q. hellinger: ∫ (√p - √q)². jensen-shannon: KL(p‖m) + KL(q‖m), m = (p + q)/2, without the half of
other texts, so that it ends at 2 log 2; gan: the same less 2 log 2. total-variation: ½ ∫ |p - q|. least-squares:
∫ (p - q)² / (p + q), which Mao et al. 2017 write as Pearson's χ² between p + q and 2q.
"""


def log_normal(x: Tensor, mean: Tensor | float, deviation: float = 1.0) -> Tensor:
    """Return the log density of N(mean, deviation²)."""
    return -0.5 * ((x - mean) / deviation).square() - math.log(deviation * math.sqrt(2 * math.pi))


def density_between(x: Tensor, distance: float) -> Tensor:
    """Return the density of εX + (1 - ε)Y, ε ~ U[0, 1], X ~ N(0, 1), Y ~ N(distance, 1)."""
    mix = (torch.arange(400, dtype=torch.float64) + 0.5)[:, None] / 400
    deviation = (mix.square() + (1 - mix).square()).sqrt()
    return ((-0.5 * ((x - (1 - mix) * distance) / deviation).square()).exp() / deviation).mean(0) / math.sqrt(
        2 * math.pi
    )


def variational_bound(divergence: FDivergence, log_p: Tensor, log_q: Tensor, ratio: Tensor, step: float) -> Tensor:
    """Return E_P T - E_Q f*(T) for the T that were optimal if `ratio` were log(p/q): D_f(P‖Q) where it is, else less.

    By a sum over points that are `step` apart, which for smooth densities that end within them is the integral.
    """
    return step * ((log_p.exp() * divergence.on_p(ratio)).sum() - (log_q.exp() * divergence.on_q(ratio)).sum())


def mmd_of_shifted(kernel: Kernel, differences: Tensor, weights: Tensor, shift: Tensor) -> Tensor:
    """Return MMD² between a distribution and itself moved by `shift`, `[d]`, for a kernel that sees differences alone.

    `differences`, `[n, d]`: of two independent samples of it, with their `weights`, whose sum is 1.
    """
    origin = torch.zeros_like(shift)[None]
    near, far = (kernel(differences + by, origin)[:, 0] for by in (0 * shift, shift))
    return 2 * (weights * (near - far)).sum()


def distances_of_gaussians(shift: float, deviation: float, kernels: Mapping[str, Kernel]) -> Distances:
    """Return value and slope over `shift` of each divergence between N(0, deviation²) and N(shift, deviation²).

    In float64 by sums over equidistant points; those of `kernels` are MMD², `wasserstein` is the distance itself.
    Raises `UserError` where the densities are farther apart than float64 tells of.
    """
    if not abs(shift) <= MOST_APART * deviation:
        raise UserError(f"Gaussians {MOST_APART:g} deviations apart at most are told apart in float64, not {shift:g}")
    reach = (
        1.5 * abs(shift) + 9 * deviation
    )  # about the middle, where total variation has a kink: on a point of its own
    step = 2 * reach / (POINTS - 1)
    places = torch.arange(-(POINTS // 2), POINTS // 2 + 1, dtype=torch.float64) * step
    x = places + shift / 2
    theta = torch.tensor([float(shift)], dtype=torch.float64, requires_grad=True)
    log_p, log_q = log_normal(x, 0.0, deviation), log_normal(x, theta, deviation)
    ratio = -places * shift / deviation**2  # log(p/q), fixed: at the optimum of T the value does not move with T
    found = {name: variational_bound(f, log_p, log_q, ratio, step) for name, f in F_DIVERGENCES.items()}
    weights = step * log_normal(places, 0.0, 2**0.5 * deviation).exp()  # of the difference of two samples
    found |= {name: mmd_of_shifted(k, places[:, None], weights, theta) for name, k in kernels.items()}
    found["wasserstein"] = theta.abs().sum()
    return _with_slopes(found, theta)


def distances_of_lines(shift: float, kernels: Mapping[str, Kernel]) -> Distances:
    """Return the same for (0, Z) and (shift, Z), Z ~ U[0, 1] (Arjovsky et al. 2017, example 1).

    They do not meet unless they are one: every f-divergence is constant where it is finite, infinite where it is not.
    """
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(64))
    gaps, weights = (nodes + 1) / 2, weights * (1 - (nodes + 1) / 2)  # |Z - Z'| has the density 2 (1 - t)
    theta = torch.tensor([float(shift)], dtype=torch.float64, requires_grad=True)
    differences = torch.stack([torch.zeros_like(gaps), gaps], 1)
    move = torch.cat([theta, torch.zeros(1, dtype=torch.float64)])
    found = {name: mmd_of_shifted(kernel, differences, weights, move) for name, kernel in kernels.items()}
    found["wasserstein"] = theta.abs().sum()
    same = {"gan": -2 * LOG_2}
    constant = {name: (f.apart if shift else same.get(name, 0.0)) for name, f in F_DIVERGENCES.items()}
    slopes = {name: 0.0 if shift and math.isfinite(value) else math.nan for name, value in constant.items()}
    return {name: (value, slopes[name]) for name, value in constant.items()} | _with_slopes(found, theta)


def _with_slopes(found: Mapping[str, Tensor], theta: Tensor) -> Distances:
    slopes = {name: torch.autograd.grad(value, theta, retain_graph=True)[0].item() for name, value in found.items()}
    if not theta.item():
        slopes |= dict.fromkeys(slopes.keys() & KINKED, math.nan)
    return {name: (value.item(), slopes[name]) for name, value in found.items()}
