"""Kernels and MMD² against what they are for two Gaussians, in closed form or as an integral, and pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import gamma

from ganbench import dot_kernel, gaussian_kernel, mmd_squared, rational_quadratic_kernel, witness
from ganbench.toolbox.kernels import _mean_of_pairs

X_MEAN, Y_MEAN = torch.tensor([0.3, -0.5], dtype=torch.float64), torch.tensor([-0.4, 0.6], dtype=torch.float64)
X_DEVIATION, Y_DEVIATION = 0.7, 1.3


def gaussians(n: int, seed: int = 0):
    """Draw n points of N(m, 0.7² I) and of N(m', 1.3² I)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    return X_MEAN + X_DEVIATION * x, Y_MEAN + Y_DEVIATION * y


def evenly_spread(n: int):
    """Spread n points over each of the two Gaussians by a Sobol sequence, whose means err much less than random ones.

    Not for the unbiased estimate: these points keep away from one another.
    """
    share = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(n, dtype=torch.float64)
    standard = torch.special.ndtri(share)
    return X_MEAN + X_DEVIATION * standard[:, :2], Y_MEAN + Y_DEVIATION * standard[:, 2:]


def gaussian_of_precision(precision: float, variance: float, distance: float) -> float:
    """E exp(-τ ‖u‖² / 2) for u ~ N(m, v I) in two dimensions, ‖m‖² given."""
    return math.exp(-0.5 * precision * distance / (1 + precision * variance)) / (1 + precision * variance)


def expected_gaussian(deviations, variance, distance):
    return sum(gaussian_of_precision(1 / deviation**2, variance, distance) for deviation in deviations)


def expected_rational_quadratic(shapes, variance, distance):
    """The kernel is the mean of Gaussian kernels whose precision is of the gamma distribution of shape and rate α."""

    def mean(shape):
        of = gamma(shape, scale=1 / shape)
        return quad(lambda share: gaussian_of_precision(of.ppf(share), variance, distance), 0, 1)[0]

    return sum(mean(shape) for shape in shapes)


def population(expected, scales) -> float:
    """MMD² between the two Gaussians: the difference of two independent draws is Gaussian, too."""
    distance = (X_MEAN - Y_MEAN).square().sum().item()
    xx = expected(scales, 2 * X_DEVIATION**2, 0.0)
    yy = expected(scales, 2 * Y_DEVIATION**2, 0.0)
    return xx + yy - 2 * expected(scales, X_DEVIATION**2 + Y_DEVIATION**2, distance)


CASES = [
    (gaussian_kernel, expected_gaussian, (1.0,)),
    (gaussian_kernel, expected_gaussian, (0.5, 2.0, 4.0)),
    (rational_quadratic_kernel, expected_rational_quadratic, (1.0,)),
    (rational_quadratic_kernel, expected_rational_quadratic, (0.2, 0.5, 5.0)),
]


@pytest.mark.parametrize(("kernel", "expected", "scales"), CASES)
def test_mmd_between_two_gaussians(kernel, expected, scales):
    x, y = evenly_spread(1024)
    found = mmd_squared(lambda a, b: kernel(a, b, scales), x, y, biased=True).item()
    assert found == pytest.approx(population(expected, scales), rel=0.02)


def test_mmd_of_the_dot_kernel_is_the_distance_of_means():
    x, y = gaussians(1000)
    biased = mmd_squared(dot_kernel, x, y, biased=True).item()
    assert biased == pytest.approx((x.mean(0) - y.mean(0)).square().sum().item())
    assert mmd_squared(dot_kernel, x, y).item() == pytest.approx((X_MEAN - Y_MEAN).square().sum().item(), rel=0.2)


def mean_of_small_batches(estimate) -> float:
    return float(np.mean([estimate(*gaussians(4, seed)).item() for seed in range(3000)]))


def test_the_unbiased_estimate_is_right_on_the_average_and_the_biased_one_by_a_known_amount_off():
    truth = population(expected_gaussian, (1.0,))
    assert mean_of_small_batches(lambda x, y: mmd_squared(gaussian_kernel, x, y)) == pytest.approx(truth, abs=0.01)
    same = expected_gaussian((1.0,), 2 * X_DEVIATION**2, 0.0) + expected_gaussian((1.0,), 2 * Y_DEVIATION**2, 0.0)
    bias = (2 - same) / 4  # a quarter of the pairs are of a sample and itself, of which the kernel is 1
    assert mean_of_small_batches(lambda x, y: mmd_squared(gaussian_kernel, x, y, biased=True)) == pytest.approx(
        truth + bias, abs=0.01
    )


def test_the_unbiased_estimate_of_equal_distributions_takes_both_signs():
    draws = [gaussians(8, seed)[0] for seed in range(40)]
    signs = {mmd_squared(gaussian_kernel, x, y).item() > 0 for x, y in zip(draws[::2], draws[1::2], strict=True)}
    assert signs == {True, False}


def test_batches_may_differ_in_size_and_are_compared_pair_by_pair():
    x, y = gaussians(5)[0].numpy(), gaussians(3, 1)[1].numpy()

    def k(a, b):
        return sum((1 + ((a - b) ** 2).sum() / (2 * shape)) ** -shape for shape in (0.5, 2.0)) + a @ b

    xx = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(3) for j in range(3) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])

    def kernel(a, b):
        return rational_quadratic_kernel(a, b, (0.5, 2.0)) + dot_kernel(a, b)

    tensors = torch.from_numpy(x), torch.from_numpy(y)
    assert mmd_squared(kernel, *tensors).item() == pytest.approx(xx + yy - 2 * xy, rel=1e-10)
    at = torch.randn(4, 2, dtype=torch.float64)
    expected = [np.mean([k(p, a) for a in x]) - np.mean([k(p, b) for b in y]) for p in at.numpy()]
    np.testing.assert_allclose(witness(kernel, at, *tensors).numpy(), expected, rtol=1e-10)


def test_means_of_the_witness_give_the_biased_estimate():
    x, y = gaussians(50)
    gap = witness(gaussian_kernel, x, x, y).mean() - witness(gaussian_kernel, y, x, y).mean()
    assert gap.item() == pytest.approx(mmd_squared(gaussian_kernel, x, y, biased=True).item())


def test_pairs_leave_the_diagonal_out():
    assert _mean_of_pairs(torch.tensor([[100.0, 1.0], [3.0, -50.0]])).item() == 2


def test_gradients_are_finite_where_samples_meet():
    x = torch.zeros(4, 3, requires_grad=True)
    for kernel in (gaussian_kernel, rational_quadratic_kernel, dot_kernel):
        (gradient,) = torch.autograd.grad(mmd_squared(kernel, x, x.detach()), x)
        assert gradient.isfinite().all()


def test_it_is_computed_in_float32_under_autocast():
    x, y = (points.float() for points in gaussians(64))
    for kernel in (gaussian_kernel, rational_quadratic_kernel, dot_kernel):
        exact = mmd_squared(kernel, x, y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = mmd_squared(kernel, x, y)
            assert mmd_squared(kernel, x.bfloat16(), y.bfloat16()).dtype == torch.float32
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)
