"""Mode counts against histograms made by hand and against what a perfect generator must score."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.metrics.modes import ganbench_metrics, high_quality, mode_kl, modes
from torch import Tensor
from torch.nn.functional import one_hot
from torch.optim import Optimizer

from ganbench import (
    Batch,
    Clock,
    DataSpec,
    Embedding,
    Extractor,
    Features,
    ImageSet,
    Modes,
    Parts,
    Scene,
    Splits,
    Update,
    UserError,
    Variant,
    to_float,
)
from ganbench.scoring.evaluate import Evaluator, Subject
from ganbench.training.bench import Bench
from ganbench.training.networks import build_variant


class Circle(Modes):
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
        assert "floors" not in protocol
        assert protocol["sigma"] == 0.01 and "high quality" in protocol["counted"]


def test_what_is_better() -> None:
    better = {metric.name: metric.higher_is_better for metric in ganbench_metrics()}
    assert better == {"modes": True, "high-quality": True, "mode-kl": False}
    near = {metric.name: metric.near_reference for metric in ganbench_metrics()}
    assert near == {"modes": False, "high-quality": True, "mode-kl": True}
    needs = {metric.name: metric.needs for metric in ganbench_metrics()}
    assert needs == {"modes": {"modes"}, "high-quality": {"modes", "points"}, "mode-kl": {"modes"}}


def test_the_worst_is_what_a_lost_generator_scores() -> None:
    worst = {metric.name: metric.worst for metric in ganbench_metrics()}
    assert worst == {"modes": 0, "high-quality": 0, "mode-kl": None}
    lost = at(stray=10)
    assert (modes(lost)["modes"].value, high_quality(lost)["high-quality"].value) == (0, 0)
    collapsed = mode_kl(at(20))["mode-kl"]
    assert collapsed.worst == collapsed.value == pytest.approx(math.log(8))
    assert [value.worst for value in modes(told(1)).values()] == [0, 0]


class Told(Modes):
    """Four modes told by the probabilities of an extractor; images of one grey level, a mode every 64 levels."""

    count, extractor = 4, "levels"
    protocol = {"rule": "likeliest"}  # noqa: RUF012

    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        return samples.argmax(1), torch.ones(len(samples), dtype=torch.bool)

    def floors(self, n: int) -> Mapping[str, Mapping[str, float]]:
        return {"modes": {"n": n}, "modes-5": {"n": n + 1}}


class Levels(Extractor):
    name = "levels"

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        return LevelsReady()


class LevelsReady:
    protocol = {"extractor": "levels"}  # noqa: RUF012

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        level = images[:, 0, 0, 0].long() // 64
        return level[:, None].float(), one_hot(level, 4).float()


def told(*counts: int) -> Scene:
    """So many samples of each mode, by their probabilities; the images tell nothing."""
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    features = Features(torch.zeros(len(index), 1, 2, 2, dtype=torch.uint8), probs=one_hot(index, 4) * 0.6 + 0.1)
    return Scene(DataSpec((1, 2, 2)), features, features, {}, modes=Told())


def test_where_a_classifier_tells_the_modes_every_sample_counts() -> None:
    found = modes(told(5, 4, 1))
    assert {name: value.value for name, value in found.items()} == {"modes": 3, "modes-5": 1}
    assert all(value.higher_is_better for value in found.values())
    share = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64)
    expected = float((share * (share * 4).log()).sum())
    assert mode_kl(told(5, 4, 1))["mode-kl"].value == pytest.approx(expected, rel=1e-12)


def test_the_protocol_then_has_no_word_of_quality_but_the_floors_of_the_value() -> None:
    found = {**modes(told(5, 4, 1)), **mode_kl(told(5, 4, 1))}
    assert [found[name].protocol.get("floors") for name in ("modes", "modes-5", "mode-kl")] == [
        {"n": 10},
        {"n": 11},
        None,
    ]
    rules = [value.protocol["counted"] for value in found.values()]
    assert rules[:2] == ["modes with at least 1 sample", "modes with at least 5 samples"]
    assert not any("quality" in rule for rule in rules)


class Constant(Variant):
    """Gives one grey level, of the third mode."""

    name = "constant"

    def build(self, parts: Parts) -> None:
        self.G = torch.nn.Linear(1, 1)

    def optimizers(self) -> dict[str, Optimizer]:
        return {}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from ()

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        return to_float(torch.full((n, 1, 8, 8), 130, dtype=torch.uint8))


def test_the_harness_hands_the_metrics_the_extractor_that_the_modes_name() -> None:
    images = torch.arange(4, dtype=torch.uint8).mul(64).repeat(8)[:, None, None, None].expand(32, 1, 8, 8).contiguous()
    data = Splits(ImageSet(images), ImageSet(images), "1" * 64, modes=Told())
    evaluator = Evaluator(
        Bench(Digits(), data, DCGAN(), extractors={"levels": Levels()}), samples=32, device=torch.device("cpu")
    )
    variant = build_variant(Constant, DCGAN(), data.spec(), seed=0).eval()
    chosen = [metric for metric in ganbench_metrics() if metric.name != "high-quality"]
    found = evaluator.score(Subject(variant), chosen).values
    assert {name: (value.value, value.reference) for name, value in found.items()} == {
        "modes": (1, 4),
        "modes-5": (1, 4),
        "mode-kl": (pytest.approx(math.log(4)), pytest.approx(0)),
    }
    assert all(value.protocol["extractor"] == "levels" for value in found.values())
