"""Mode counts against histograms made by hand and against what a perfect generator must score."""

import math

import pytest
import torch
from ganbench_plugins.metric_modes import ganbench_metrics, high_quality, mode_kl, modes
from torch import Tensor

from ganbench import DataSpec, Features, Scene, UserError


class Circle:
    """Eight modes on the unit circle; a sample within three sigma of one is of high quality."""

    count = 8
    protocol = {"sigma": 0.01}  # noqa: RUF012

    def __init__(self) -> None:
        angle = torch.arange(8) * (2 * math.pi / 8)
        self.centres = torch.stack([angle.cos(), angle.sin()], 1)

    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        distance, index = torch.cdist(samples, self.centres).min(1)
        return index, distance < 0.03


def scene_of(samples: Tensor) -> Scene:
    features = Features(samples)
    return Scene(DataSpec((2,)), features, features, {}, modes=Circle())


def at(*counts: int, stray: int = 0) -> Scene:
    """So many samples on the first modes, and `stray` far from all."""
    samples = Circle().centres[: len(counts)].repeat_interleave(torch.tensor(counts, dtype=torch.int64), 0)
    return scene_of(torch.cat([samples, torch.full((stray, 2), 5.0)]))


def test_a_mode_counts_with_one_good_sample_and_not_with_bad_ones() -> None:
    assert modes(at(3, 1, 0, 2, stray=10))["modes"].value == 3
    assert modes(at(stray=10))["modes"].value == 0


def test_high_quality_is_a_share_of_all_samples() -> None:
    assert high_quality(at(3, 1, 0, 2, stray=10))["high-quality"].value == 6 / 16
    assert high_quality(at(stray=10))["high-quality"].value == 0


def test_kl_of_a_histogram_by_hand() -> None:
    expected = 0.75 * math.log(0.75 * 8) + 0.25 * math.log(0.25 * 8)
    assert mode_kl(at(3, 1, stray=10))["mode-kl"].value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", range(1, 9))
def test_k_modes_used_evenly(k: int) -> None:
    assert mode_kl(at(*[7] * k))["mode-kl"].value == pytest.approx(math.log(8 / k), abs=1e-12)


def test_kl_is_never_below_zero() -> None:
    assert mode_kl(at(*[3] * 8))["mode-kl"].value >= 0


def test_kl_needs_a_sample_of_high_quality() -> None:
    with pytest.raises(UserError, match="no sample of high quality among 10"):
        mode_kl(at(stray=10))


def test_a_perfect_generator_scores_the_known_values() -> None:
    """1 − e^(−4.5) of two-dimensional Gaussian samples lie within three sigma; KL is near (K − 1)/2n."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(8, (50_000,), generator=generator)
    scene = scene_of(Circle().centres[index] + 0.01 * torch.randn(50_000, 2, generator=generator))
    assert modes(scene)["modes"].value == 8
    assert high_quality(scene)["high-quality"].value == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert mode_kl(scene)["mode-kl"].value == pytest.approx(7 / 100_000, abs=2e-4)


def test_the_counting_rule_and_the_modes_are_in_the_protocol() -> None:
    for metric in ganbench_metrics():
        protocol = metric.compute(at(1, 1))[metric.name].protocol
        assert protocol["sigma"] == 0.01 and "high quality" in protocol["counted"]


def test_what_is_better() -> None:
    better = {metric.name: metric.higher_is_better for metric in ganbench_metrics()}
    assert better == {"modes": True, "high-quality": True, "mode-kl": False}
    assert all(metric.needs == {"modes"} for metric in ganbench_metrics())
