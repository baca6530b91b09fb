import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad, quad
from scipy.stats import norm, wasserstein_distance

from ganbench import (
    F_DIVERGENCES,
    UserError,
    density_between,
    distances_of_gaussians,
    distances_of_lines,
    gaussian_kernel,
    log_normal,
    rational_quadratic_kernel,
    variational_bound,
)

INTEGRANDS = {
    "kl": lambda p, q: p * math.log(p / q),
    "reverse-kl": lambda p, q: q * math.log(q / p),
    "pearson": lambda p, q: (p - q) ** 2 / q,
    "hellinger": lambda p, q: (math.sqrt(p) - math.sqrt(q)) ** 2,
    "jensen-shannon": lambda p, q: p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q)),
    "gan": lambda p, q: p * math.log(p / (p + q)) + q * math.log(q / (p + q)),
    "total-variation": lambda p, q: abs(p - q) / 2,
    "least-squares": lambda p, q: (p - q) ** 2 / (p + q),
}
GENERATORS = {
    "kl": lambda u: u * np.log(u),
    "reverse-kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jensen-shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "gan": lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
    "total-variation": lambda u: np.abs(u - 1) / 2,
    "least-squares": lambda u: (u - 1) ** 2 / (u + 1),
}
KERNELS = {"rq": lambda x, y: rational_quadratic_kernel(x, y, (0.2, 2.0)), "rbf": gaussian_kernel}


@pytest.mark.parametrize("name", F_DIVERGENCES)
@pytest.mark.parametrize(("shift", "deviation"), [(0.7, 1.0), (3.0, 1.0), (2.0, 2.0)])
def test_gaussians_agree_with_scipys_quadrature(name, shift, deviation):
    def value(theta):
        def density(z):
            return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / deviation

        ends = (-theta - 8 * deviation, theta + 8 * deviation)
        integrand = lambda x: INTEGRANDS[name](density(x / deviation), density((x - theta) / deviation))  # noqa: E731
        return sum(quad(integrand, *part, limit=200)[0] for part in ((ends[0], theta / 2), (theta / 2, ends[1])))

    found, slope = distances_of_gaussians(shift, deviation, {})[name]
    assert found == pytest.approx(value(shift), rel=1e-5)
    difference = (value(shift + 1e-3) - value(shift - 1e-3)) / 2e-3
    assert slope == pytest.approx(difference, rel=1e-4)


def test_gaussians_have_the_known_closed_forms():
    found = distances_of_gaussians(3.0, 1.5, {})
    assert found["kl"] == pytest.approx((3**2 / (2 * 1.5**2), 3 / 1.5**2))
    assert found["pearson"][0] == pytest.approx(math.expm1((3 / 1.5) ** 2))
    assert found["hellinger"][0] == pytest.approx(2 - 2 * math.exp(-((3 / 1.5) ** 2) / 8))
    assert found["total-variation"][0] == pytest.approx(2 * norm.cdf(1) - 1, abs=1e-5)
    assert found["wasserstein"] == (3.0, 1.0)


def test_the_largest_distance_that_is_offered_still_has_all_its_digits():
    found = distances_of_gaussians(12.0, 1.0, {})
    assert found["pearson"][0] == pytest.approx(math.expm1(144), rel=1e-9)
    assert found["kl"] == pytest.approx((72.0, 12.0))
    with pytest.raises(UserError, match="12 deviations apart at most"):
        distances_of_gaussians(12.1, 1.0, {})
    with pytest.raises(UserError, match="nan"):
        distances_of_gaussians(math.nan, 1.0, {})


def test_the_gaussian_kernels_mmd_has_a_closed_form():
    shift, deviation = 2.5, 0.8
    spread = 1 + 2 * deviation**2
    value = 2 / math.sqrt(spread) * (1 - math.exp(-(shift**2) / (2 * spread)))
    slope = 2 / math.sqrt(spread) * shift / spread * math.exp(-(shift**2) / (2 * spread))
    assert distances_of_gaussians(shift, deviation, KERNELS)["rbf"] == pytest.approx((value, slope))


def test_mmd_of_lines_is_the_double_integral():
    def k(dx, dy):
        return sum((1 + (dx**2 + dy**2) / (2 * a)) ** -a for a in (0.2, 2.0))

    def mean(dx):
        return dblquad(lambda a, b: k(dx, a - b), 0, 1, 0, 1)[0]

    value, slope = distances_of_lines(1.3, KERNELS)["rq"]
    assert value == pytest.approx(2 * (mean(0) - mean(1.3)), abs=1e-6)
    assert slope == pytest.approx((mean(1.299) - mean(1.301)) / 1e-3, abs=1e-5)


@pytest.mark.parametrize("shift", [1e-9, 0.5, 8.0])
def test_lines_that_do_not_meet_are_as_far_apart_as_f_says(shift):
    found = distances_of_lines(shift, KERNELS)
    for name, f in GENERATORS.items():
        value, slope = found[name]
        with np.errstate(all="ignore"):
            most = f(1e-300) + f(1e12) / 1e12  # f(0) + lim f(u)/u
        assert (math.isinf(value) and most > 20) or value == pytest.approx(most, abs=1e-3)
        assert math.isnan(slope) if math.isinf(value) else slope == 0
    assert found["wasserstein"] == (shift, 1.0)
    samples = np.linspace(0, 1, 50)
    assert wasserstein_distance(samples, samples + shift) == pytest.approx(found["wasserstein"][0])


def test_lines_that_are_one_are_no_distance_apart_and_have_no_slope_of_what_jumps():
    found = distances_of_lines(0.0, KERNELS)
    assert {name: value for name, (value, _) in found.items() if value} == {"gan": pytest.approx(-2 * math.log(2))}
    assert math.isnan(found["jensen-shannon"][1])
    assert found["rbf"] == pytest.approx((0, 0))
    assert math.isnan(found["wasserstein"][1])
    assert math.isnan(distances_of_gaussians(0.0, 1.0, {})["total-variation"][1])


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_T_is_the_slope_of_f_and_its_conjugate_follows(name):
    u = np.array([0.05, 0.4, 1.7, 30.0])
    f, step = GENERATORS[name], 1e-6
    slope = (f(u + step) - f(u - step)) / (2 * step)
    ratio = torch.tensor(u).log()
    assert F_DIVERGENCES[name].on_p(ratio).numpy() == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert F_DIVERGENCES[name].on_q(ratio).numpy() == pytest.approx(u * slope - f(u), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_any_other_ratio_gives_less(name):
    x = torch.linspace(-9, 11, 2001, dtype=torch.float64)
    log_p, log_q = log_normal(x, 0.0), log_normal(x, 2.0)
    ratio = log_p - log_q
    best, *others = (
        variational_bound(F_DIVERGENCES[name], log_p, log_q, r, 0.01).item()
        for r in (ratio, ratio + x.sin() - 0.3, 0.5 - x)
    )
    assert all(other < best - 1e-3 for other in others)


def test_a_ratio_that_is_no_number_gives_none():
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    ratio = torch.where(x > 0, math.nan, x)
    assert math.isnan(variational_bound(F_DIVERGENCES["kl"], log_normal(x, 0), log_normal(x, 1), ratio, 0.18))


def test_the_density_between_is_that_of_samples():
    rng = np.random.default_rng(0)
    mix, real, fake = rng.random(400_000), rng.normal(size=400_000), rng.normal(3, 1, 400_000)
    counts, edges = np.histogram(mix * real + (1 - mix) * fake, 40, (-3, 6), density=False)
    at = torch.tensor((edges[1:] + edges[:-1]) / 2)
    assert density_between(at, 3.0).numpy() == pytest.approx(counts / 400_000 / (edges[1] - edges[0]), abs=4e-3)
