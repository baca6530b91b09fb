"""The Fréchet distance against closed forms and scipy's matrix square root, and the metric that uses it."""

import math
import time

import numpy as np
import pytest
import scipy.linalg
import torch
from ganbench_plugins.metrics.frechet import fd_classifier, ganbench_metrics
from torch import Tensor

from ganbench import DataSpec, Features, Scene, UserError, frechet_distance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(n: int, mean: Tensor, factor: Tensor, seed: int) -> Tensor:
    """Samples whose own mean is `mean` and whose own covariance is `factor.T @ factor`, up to rounding."""
    raw = normal(n, len(factor), seed=seed)
    white = torch.linalg.qr(raw - raw.mean(0)).Q * math.sqrt(n - 1)
    return white @ factor + mean


def by_matrix_root(a: Tensor, b: Tensor) -> float:
    first, second = np.cov(a.double().numpy(), rowvar=False), np.cov(b.double().numpy(), rowvar=False)
    gap = (a.double().mean(0) - b.double().mean(0)).numpy()
    root = scipy.linalg.sqrtm(first @ second)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (500, 90), (41, 300)])
def test_agrees_with_the_matrix_square_root(n: int, m: int) -> None:
    mixing = normal(40, 40, seed=3)
    a, b = normal(n, 40, seed=1) @ mixing, normal(m, 40, seed=2) * 2 + 0.5
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


def test_diagonal_gaussians_in_closed_form() -> None:
    first, second = torch.tensor([1.0, 2.0, 0.0, 5.0]).double(), torch.tensor([3.0, 0.5, 2.0, 5.0]).double()
    mean = torch.tensor([1.0, -2.0, 0.0, 3.0]).double()
    a = with_moments(60, mean, first.diag(), seed=1)
    b = with_moments(25, mean + 2, second.diag(), seed=2)
    expected = 4 * 4 + float(((first - second) ** 2).sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_covariances_that_do_not_commute() -> None:
    """Σ₁ = uuᵀ and Σ₂ = vvᵀ have Tr √(Σ₁Σ₂) = |u·v|."""
    u, v = torch.tensor([[3.0, 0.0, 4.0]]).double(), torch.tensor([[1.0, 2.0, 2.0]]).double()
    a, b = with_moments(9, torch.zeros(3), u, seed=1), with_moments(12, torch.zeros(3), v, seed=2)
    assert frechet_distance(a, b) == pytest.approx(25 + 9 - 2 * 11, rel=1e-12)


def test_low_rank_is_exact() -> None:
    """Fewer samples than dimensions, each set in its own plane of 500 dimensions or sharing it."""
    basis = torch.linalg.qr(normal(500, 40, seed=5)).Q.T
    deviations = torch.arange(1, 21).double()
    a = with_moments(21, torch.zeros(500), deviations[:, None] * basis[:20], seed=1)
    apart = with_moments(30, torch.zeros(500), deviations[:, None] * basis[20:], seed=2)
    shared = with_moments(30, torch.zeros(500), 3 * deviations[:, None] * basis[:20], seed=3)
    variance = float((deviations**2).sum())
    assert frechet_distance(a, apart) == pytest.approx(2 * variance, rel=1e-12)
    assert frechet_distance(a, shared) == pytest.approx(4 * variance, rel=1e-12)


def test_large_sets_agree_with_the_matrix_square_root() -> None:
    """So many that the Gram matrix is taken, whose eigenvalues are the squares."""
    spectrum = torch.arange(1, 601).double() ** -0.5
    a, b = normal(700, 600, seed=1) * spectrum, normal(520, 600, seed=2) * spectrum.flip(0) + 0.1
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


def test_large_sets_of_low_rank_keep_their_digits() -> None:
    """The square root of an eigenvalue that is 0 but for rounding would be 1e-8, and there are 580 of them."""
    basis = torch.linalg.qr(normal(600, 20, seed=5)).Q.T
    deviations = torch.arange(1, 21).double()
    a = with_moments(600, torch.zeros(600), deviations[:, None] * basis, seed=1)
    b = with_moments(550, torch.zeros(600), 3 * deviations[:, None] * basis, seed=2)
    assert frechet_distance(a, b) == pytest.approx(4 * float((deviations**2).sum()), rel=1e-11)


def test_large_identical_sets_are_at_distance_zero() -> None:
    a = (normal(600, 600) * torch.arange(1, 601) ** -0.5).float()
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-6


def by_singular_values(a: Tensor, b: Tensor) -> float:
    """The distance to rounding, by QR and singular values alone."""
    moments = [
        (x.mean(0), torch.linalg.qr((x - x.mean(0)) / math.sqrt(len(x) - 1)).R) for x in (a.double(), b.double())
    ]
    (first, r), (second, s) = moments
    traces = float(r.square().sum() + s.square().sum())
    return float((first - second).square().sum()) + traces - 2 * float(torch.linalg.svdvals(r @ s.T).sum())


@pytest.mark.parametrize("kind", ["flat", "real", "steep", "rotated", "dead features", "low rank", "one is low rank"])
def test_more_samples_than_many_features_keep_their_digits(kind: str) -> None:
    """Where the covariances themselves are enough, and where they are not."""
    width = 520
    power = {"flat": 0.0, "real": 0.75, "steep": 3.0}.get(kind, 0.5)
    spectrum = torch.arange(1, width + 1).double() ** -power
    a, b = normal(700, width, seed=1) * spectrum, normal(600, width, seed=2) * spectrum * 1.2 + 0.01
    if kind == "rotated":
        b = b @ torch.linalg.qr(normal(width, width, seed=3)).Q
    if kind == "dead features":
        a[:, 100:] = b[:, 200:] = 0
    if kind.endswith("low rank"):
        b = b[:, :20] @ normal(20, width, seed=4)
    if kind == "low rank":
        a = a[:, :20] @ normal(20, width, seed=5)
    expected = by_singular_values(a, b)
    promised = 1e-7 if kind == "one is low rank" else 1e-10
    error = promised * float(a.var(0).sum() + b.var(0).sum())
    assert frechet_distance(a, b) == pytest.approx(expected, abs=error)
    assert frechet_distance(b, a) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_many_identical_samples_of_many_features_are_at_distance_zero(scale: float) -> None:
    a = ((normal(700, 520) * torch.arange(1, 521) ** -0.5 + 3) * scale).float()
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-6 * max(1.0, scale**2)


def test_few_samples_equal_many_dimensions_rotated_away() -> None:
    """Zero columns added and all rotated: the distance of 8-d features seen in 300 dimensions."""
    a, b = normal(100, 8, seed=1), normal(90, 8, seed=2) + 1
    rotation = torch.linalg.qr(normal(300, 300, seed=3)).Q[:8]
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(frechet_distance(a, b), rel=1e-10)


def test_a_collapsed_generator_has_a_distance() -> None:
    a, point = normal(50, 16), torch.full((30, 16), 0.25)
    expected = float(((a.mean(0) - 0.25) ** 2).sum() + a.var(0).sum())
    assert frechet_distance(point, a) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(point, point) == 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n", [20, 64, 400])
def test_identical_sets_are_at_distance_zero(scale: float, n: int) -> None:
    a = ((normal(n, 64) + 3) * scale).float()
    assert 0 <= frechet_distance(a, a) < 1e-6
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-6


def test_is_symmetric_and_does_not_write() -> None:
    a, b = normal(30, 12, seed=1), normal(50, 12, seed=2)
    before = a.clone()
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert torch.equal(a, before)


@pytest.mark.parametrize("n", [10, 200])
def test_a_shift_costs_its_square(n: int) -> None:
    a = normal(n, 32) + 1000
    assert frechet_distance(a, a + 0.5) == pytest.approx(32 * 0.25, rel=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    a = normal(10, 3)
    a[4, 1] = bad
    for sets in ((a, normal(10, 3)), (normal(10, 3), a)):
        with pytest.raises(UserError, match="finite"):
            frechet_distance(*sets)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(UserError, match="at least 2 samples of each set, not 1"):
        frechet_distance(normal(10, 3), normal(1, 3))


def test_sets_of_different_width_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(10, 3\) and \(10, 4\)"):
        frechet_distance(normal(10, 3), normal(10, 4))


def test_overflow_is_not_a_number_to_return() -> None:
    for n in (10, 600):
        with pytest.raises(ArithmeticError):
            frechet_distance(normal(n, n) * 1e200, normal(n, n))


def test_the_metric_measures_embeddings() -> None:
    images = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
    fake, real = (normal(40, 6, seed=seed).float() for seed in (1, 2))
    scene = Scene(DataSpec((1, 8, 8), classes=10), Features(images, fake), Features(images, real), {})
    (metric,) = ganbench_metrics()
    assert metric.name == "fd-classifier" and metric.extractor == "classifier" and metric.higher_is_better is False
    assert fd_classifier(scene)["fd-classifier"].value == pytest.approx(by_matrix_root(fake, real), rel=1e-6)


@pytest.mark.slow
def test_is_much_faster_than_the_matrix_square_root() -> None:
    a, b = normal(2000, 2048, seed=1), normal(2000, 2048, seed=2)
    start = time.perf_counter()
    frechet_distance(a, b)
    middle = time.perf_counter()
    scipy.linalg.sqrtm((a.T @ a @ b.T @ b).numpy() / 4e6)
    assert middle - start < (time.perf_counter() - middle) / 8
