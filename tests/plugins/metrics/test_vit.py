"""FD-DINOv2 and CMMD against torch-fidelity's distance and whole kernel matrices."""

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics import vit
from ganbench_plugins.metrics.vit import ganbench_metrics, squared_mmd
from torch import Tensor
from torch.nn.functional import normalize
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from ganbench import DataSpec, Features, Scene, UserError, Value

METRICS = {metric.name: metric for metric in ganbench_metrics()}


def unit(n: int, width: int = 24, seed: int = 0, shift: float = 0.0) -> Tensor:
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + shift, dim=1)


def measure(name: str, fake: Tensor, real: Tensor) -> Value:
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    scene = Scene(DataSpec((3, 8, 8)), Features(images, fake), Features(images, real), {})
    ((found, value),) = METRICS[name].compute(scene).items()
    assert found == name
    return value


def by_matrices(x: Tensor, y: Tensor) -> float:
    """The sum that google-research/cmmd computes, with direct differences in float64."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * 10**2)).mean())

    x64, y64 = x.double().numpy(), y.double().numpy()
    return 1000 * (mean(x64, x64) + mean(y64, y64) - 2 * mean(x64, y64))


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (7, 5), (256, 1024)])
@pytest.mark.parametrize(("n", "m", "shift"), [(60, 40, 0.3), (30, 80, 0.0), (1, 1, 1.0), (90, 5, 0.01)])
def test_cmmd_is_its_formula(
    n: int, m: int, shift: float, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "ROWS", rows)
    monkeypatch.setattr(vit, "COLUMNS", columns)
    fake, real = unit(n, seed=1), unit(m, seed=2, shift=shift)
    value = measure("cmmd", fake, real)
    assert value.value == pytest.approx(by_matrices(fake, real), rel=1e-6)  # the formula itself loses that much
    assert "biased" in value.protocol["estimate"]


def test_cmmd_of_equal_sets_is_zero_and_its_worst_is_that_of_opposite_points() -> None:
    real = unit(50)
    assert measure("cmmd", real, real.flip(0)).value == pytest.approx(0, abs=1e-10)
    one = unit(1).double()
    assert 1000 * squared_mmd(one, -one) == pytest.approx(METRICS["cmmd"].worst, rel=1e-6)


def test_cmmd_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1 sample of each set, not 0"):
        measure("cmmd", unit(0), unit(5))


def test_fd_dinov2_is_the_frechet_distance() -> None:
    fake, real = unit(200, seed=1) * 30, unit(150, seed=2, shift=0.1) * 30
    theirs = fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real), False)
    assert measure("fd-dinov2", fake, real).value == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3)


def test_each_says_what_it_is() -> None:
    for name, extractor in (("fd-dinov2", "dinov2"), ("cmmd", "clip")):
        metric = METRICS[name]
        assert metric.extractor == extractor and not metric.any_extractor and metric.last_mark_only
        assert metric.higher_is_better is False and metric.needs == {"images"} and metric.summary
