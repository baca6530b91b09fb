"""Precision, recall, density, coverage and authenticity against their formulas, with all distances at once."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics import prdc as module
from ganbench_plugins.metrics.prdc import Config, authentic, ganbench_metrics, prdc
from scipy.spatial.distance import cdist
from torch import Tensor

from ganbench import DataSpec, Features, Metric, Scene, UserError, Value

METRICS = {metric.name: metric for metric in ganbench_metrics()}
FOUR = ("precision", "recall", "density", "coverage")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole(*shape: int, seed: int = 0) -> Tensor:
    """Small whole numbers: many copies and equal distances, and no rounding in the reference."""
    return torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(seed)).float()


def by_formula(fake: Tensor, real: Tensor, k: int) -> dict[str, float]:
    """The definitions, over whole matrices of squared distances and with sorting."""
    x, y = real.double().numpy(), fake.double().numpy()
    within_real, within_fake = (np.sort(cdist(s, s, "sqeuclidean"), axis=1)[:, k] for s in (x, y))
    between = cdist(x, y, "sqeuclidean")
    in_real, in_fake = between < within_real[:, None], between < within_fake[None, :]
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_fake.any(axis=1).mean(),
        "density": in_real.sum(axis=0).mean() / k,
        "coverage": (between.min(axis=1) < within_real).mean(),
    }


def numbers(values: dict[str, Value]) -> dict[str, float]:
    return {name: value.value for name, value in values.items()}


@pytest.mark.parametrize("tile", [1, 500, 2**22])
@pytest.mark.parametrize("k", [1, 3, 5, 20])
@pytest.mark.parametrize(("m", "n", "width"), [(60, 90, 4), (130, 40, 16), (21, 21, 2), (200, 150, 600)])
def test_the_four_are_their_formulas(
    m: int, n: int, width: int, k: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    fake, real = normal(m, width, seed=1) * 0.8 + 0.3, normal(n, width, seed=2)
    assert numbers(prdc(fake, real, k)) == pytest.approx(by_formula(fake, real, k), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_copies_and_equal_distances_lie_outside_as_in_exact_arithmetic(seed: int, k: int, shift: float) -> None:
    """Among whole numbers most distances are equal to a radius; features far from 0 are no other matter."""
    fake, real = whole(50, 4, seed=seed) + shift, whole(70, 4, seed=seed + 100) + shift
    expected = by_formula(fake, real, k)
    assert numbers(prdc(fake, real, k)) == pytest.approx(expected, rel=1e-12)
    assert 0 < expected["coverage"] < 1


def test_a_set_of_copies_has_balls_of_no_size() -> None:
    real = torch.ones(10, 7) * 0.1
    assert set(numbers(prdc(real, real, 3)).values()) == {0.0}


def test_two_halves_of_one_distribution_have_a_density_of_one_and_expected_coverage() -> None:
    """Of n + n samples drawn alike, each order is as likely: E coverage = 1 - (n-1)…(n-k) / ((2n-1)…(2n-k))."""
    n, k, runs = 60, 5, 100
    found = [numbers(prdc(normal(n, 3, seed=2 * i), normal(n, 3, seed=2 * i + 1), k)) for i in range(runs)]
    coverage = 1 - math.prod((n - j) / (2 * n - j) for j in range(1, k + 1))
    for name, expected in (("density", 1.0), ("coverage", coverage)):
        values = torch.tensor([each[name] for each in found])
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(runs))


def test_spreads_are_what_new_samples_vary_by() -> None:
    real, draws = normal(80, 3, seed=9), [normal(100, 3, seed=seed) * 1.5 for seed in range(300)]
    found = [prdc(fake, real, 5) for fake in draws]
    for name in ("precision", "density"):
        varied = torch.tensor([values[name].value for values in found]).std()
        spreads = [values[name].spread for values in found]
        assert all(spread is not None for spread in spreads)
        assert sum(spread or 0 for spread in spreads) / 300 == pytest.approx(float(varied), rel=0.15)
    assert found[0]["recall"].spread is found[0]["coverage"].spread is None


@pytest.mark.parametrize(("m", "n"), [(5, 9), (9, 5), (0, 9)])
def test_fewer_samples_than_neighbours_are_refused(m: int, n: int) -> None:
    with pytest.raises(UserError, match=f"k = 5 neighbours need at least 6 samples of each set, not {min(m, n)}"):
        prdc(normal(m, 4), normal(n, 4, seed=1), 5)


def scene(fake: Tensor, real: Tensor, **more: object) -> Scene:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    return Scene(DataSpec((1, 8, 8)), Features(images, fake), Features(images, real), {}, **more)  # type: ignore[arg-type]


def test_the_four_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, compute = [], module.prdc

    def counted(fake: Tensor, real: Tensor, k: int) -> object:
        calls.append(k)
        return compute(fake, real, k)

    monkeypatch.setattr(module, "prdc", counted)
    seen = scene(normal(40, 4), normal(30, 4, seed=1))
    found = {name: value for each in FOUR for name, value in METRICS[each].compute(seen).items()}
    assert calls == [5] and tuple(found) == FOUR
    assert numbers(found) == pytest.approx(by_formula(normal(40, 4), normal(30, 4, seed=1), 5))
    options = scene(normal(40, 4), normal(30, 4, seed=1), options=Config(k=3), memo=seen.memo)
    value = METRICS["recall"].compute(options)["recall"]
    assert calls == [5, 3] and value.protocol["k"] == 3
    assert value.value == by_formula(normal(40, 4), normal(30, 4, seed=1), 3)["recall"]


def in_pieces(training: Tensor, size: int) -> object:
    def pieces() -> Iterator[Features]:
        for piece in training.split(size):
            yield Features(torch.zeros(len(piece), 1, 8, 8, dtype=torch.uint8), piece)

    return pieces


def authenticity(fake: Tensor, training: Tensor, size: int = 1000) -> Value:
    found = METRICS["authenticity"].compute(scene(fake, fake, training=in_pieces(training, size)))
    return found["authenticity"]


def authentic_by_formula(fake: Tensor, training: Tensor) -> np.ndarray:
    x, y = training.double().numpy(), fake.double().numpy()
    within = cdist(x, x, "sqeuclidean")
    np.fill_diagonal(within, np.inf)
    between = cdist(y, x, "sqeuclidean")
    result: np.ndarray = within.min(1)[between.argmin(1)] < between.min(1)
    return result


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("tile", [1, 300, 2**22])
@pytest.mark.parametrize(("m", "n", "width"), [(60, 90, 4), (90, 31, 3), (5, 2, 2), (40, 200, 500)])
def test_authenticity_is_its_formula_in_any_pieces(
    m: int, n: int, width: int, tile: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    fake, training = normal(m, width, seed=1) * 0.9, normal(n, width, seed=2)
    found, count = authentic(fake, in_pieces(training, size))  # type: ignore[arg-type]
    assert count == n
    assert found.tolist() == authentic_by_formula(fake, training).tolist()


def test_copies_are_not_authentic_and_what_is_far_away_is() -> None:
    training = normal(100, 8) + 50
    assert authenticity(training[20:70], training, 9).value == 0
    assert authenticity(training[:5] + 1e-4, training).value == 0
    assert authenticity(torch.cat([training[:10], training[:30] + 100]), training).value == 0.75


def test_one_sample_has_no_spread() -> None:
    value = authenticity(normal(1, 4) + 50, normal(9, 4, seed=1))
    assert value.value == 1 and value.spread is None


def test_a_copy_of_an_image_that_is_twice_there_is_a_copy() -> None:
    training = torch.cat([normal(20, 8), normal(20, 8)]) * 0.1 + 3
    assert authenticity(training[:20], training, 7).value == 0


def test_unseen_real_samples_are_authentic_half_the_time() -> None:
    values = [authenticity(normal(80, 6, seed=2 * i), normal(80, 6, seed=2 * i + 1)) for i in range(40)]
    assert 0.4 < sum(value.value for value in values) / 40 < 0.65
    assert values[0].spread == pytest.approx(math.sqrt(values[0].value * (1 - values[0].value) / 79))


def test_authenticity_without_training_images_is_refused() -> None:
    with pytest.raises(UserError, match="compares with the training images, which are not at hand"):
        METRICS["authenticity"].compute(scene(normal(9, 4), normal(9, 4)))
    with pytest.raises(UserError, match="at least 2 training images, not 1"):
        authenticity(normal(9, 4), normal(1, 4))


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_each_metric_says_what_it_is(metric: Metric) -> None:
    assert metric.extractor == "inception" and metric.any_extractor and metric.last_mark_only
    assert metric.higher_is_better and metric.worst == 0 and metric.needs == {"images"} and metric.summary
    assert metric.near_reference is (metric.name in ("density", "authenticity"))
    assert (metric.owner, metric.config) == (("prdc", Config()) if metric.name in FOUR else ("", None))
