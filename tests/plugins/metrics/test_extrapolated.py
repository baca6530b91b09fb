"""The extrapolated Fréchet distance against SciPy's regression, torch-fidelity's distance and known Gaussians."""

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics.extrapolated import Config, ganbench_metrics, line_at_zero, sizes
from scipy.stats import linregress
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from ganbench import DataSpec, Features, Scene, UserError, Value, derive, frechet_distance

(METRIC,) = ganbench_metrics()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def measure(fake: Tensor, real: Tensor, seed: int = 0, options: Config | None = None) -> Value:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    seen = Scene(DataSpec((1, 8, 8)), Features(images, fake), Features(images, real), {}, seed=seed, options=options)
    ((name, value),) = METRIC.compute(seen).items()
    assert name == "fid-inf"
    return value


@pytest.mark.parametrize("points", [3, 4, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_line_and_its_error_are_scipys(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.001, 0.01, points), rng.normal(size=points) * 10 + 5
    theirs = linregress(x, y)
    assert line_at_zero(x, y) == pytest.approx((theirs.intercept, theirs.intercept_stderr), rel=1e-9)


@pytest.mark.parametrize("points", [3, 15])
def test_the_value_is_that_of_a_fit_through_torch_fidelitys_distances(points: int) -> None:
    fake, real = normal(300, 12, seed=1) * 1.3, normal(200, 12, seed=2)
    generator, found = torch.Generator().manual_seed(derive(7, "fid-inf")), []
    ns = np.linspace(30, 300, points).astype(int)
    for n in ns:
        rows = torch.randperm(300, generator=generator)[: int(n)]
        both = (fid_features_to_statistics(features) for features in (fake[rows], real))
        found.append(fid_statistics_to_metric(*both, False)["frechet_inception_distance"])
    fit = linregress(1 / ns, found)
    value = measure(fake, real, seed=7, options=Config(points))
    assert (value.value, value.spread) == pytest.approx((fit.intercept, fit.intercept_stderr), rel=1e-3)
    assert f"{points} random subsets of 30 to 300" in value.protocol["extrapolation"]


def standard(width: int) -> Tensor:
    """Features whose mean is exactly 0 and whose covariance is exactly the identity."""
    rows = math.sqrt(width - 0.5) * torch.eye(width, dtype=torch.float64)
    return torch.cat([rows, -rows])


@pytest.mark.parametrize(("scale", "shift"), [(1.2, 0.2), (1.0, 0.0)])
def test_the_distance_of_gaussians_is_found_from_few_samples(scale: float, shift: float) -> None:
    """The squared distance of N(shift, scale² I) and N(0, I) in 16 dimensions; the second pair is one distribution."""
    true, runs, n = 16 * (shift**2 + (scale - 1) ** 2), 40, 1000
    fakes = [normal(n, 16, seed=seed) * scale + shift for seed in range(runs)]
    values = torch.tensor([measure(fake, standard(16), seed).value for seed, fake in enumerate(fakes)])
    plain = torch.tensor([frechet_distance(fake, standard(16)) for fake in fakes])
    error, bias = float(values.std()) / math.sqrt(runs), float(plain.mean()) - true
    assert bias > 5 * error  # what is to be mended
    assert float(values.mean()) == pytest.approx(true, abs=0.1 * bias + 3 * error)


def test_it_hangs_on_the_seed_alone() -> None:
    fake, real = normal(100, 4, seed=1), normal(100, 4, seed=2)
    assert measure(fake, real, 3) == measure(fake, real, 3)
    assert measure(fake, real, 3).value != measure(fake, real, 4).value


def test_sizes_go_from_a_tenth_but_5000_at_most_to_all() -> None:
    assert sizes(50_000, 15) == [int(n) for n in np.linspace(5000, 50_000, 15)]
    assert sizes(200_000, 3) == [5000, 102_500, 200_000]
    assert sizes(30, 15)[0] == 3 and sizes(30, 15)[-1] == 30 and len(sizes(30, 15)) > 10


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UserError, match="subsets of at least 30 samples, not 29"):
        measure(normal(29, 4), normal(100, 4, seed=1))


def test_it_says_what_it_is() -> None:
    assert METRIC.extractor == "inception" and METRIC.any_extractor and METRIC.last_mark_only
    assert METRIC.higher_is_better is False and METRIC.worst is None and METRIC.needs == {"images"}
    assert METRIC.config == Config(15)
