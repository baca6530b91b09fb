"""Points on a ring and on a grid: the right mixture, and who belongs to which mode."""

import math
from pathlib import Path

import pytest
import torch
from ganbench_plugins.datasets.points import Grid, Mixture, Ring, expected_kl
from ganbench_plugins.metrics.modes import high_quality, mode_kl, modes

from ganbench import DataSpec, Features, Scene, Splits, UserError
from ganbench.runs.options import resolve

NOWHERE = Path("nowhere")


def configured(cls, **settings: str):
    dataset = cls()
    dataset.config = resolve(cls, cls.name, settings)
    return dataset


def centres_of(name: str) -> torch.Tensor:
    if name == "ring":
        return torch.tensor([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)])
    return torch.cartesian_prod(*[torch.tensor([-4.0, -2, 0, 2, 4])] * 2)


@pytest.mark.parametrize(("cls", "sigma"), [(Ring, 0.01), (Grid, 0.05)])
def test_samples_are_the_mixture_of_the_protocol(cls, sigma: float):
    data = cls().load(NOWHERE, 0)
    centres = centres_of(cls.name)
    assert data.modes.count == len(centres) == len(torch.unique(centres.round(decimals=4), dim=0))
    assert data.spec().shape == (2,)
    for split, n in ((data.train, 100_000), (data.test, 10_000)):
        points = split.images
        assert (points.shape, points.dtype) == ((n, 2), torch.float32)
        gap, nearest = torch.cdist(points, centres).min(dim=1)
        share = nearest.bincount(minlength=len(centres)) / n
        assert (share - 1 / len(centres)).abs().max() < 5 * math.sqrt(1 / len(centres) / n)
        assert gap.square().mean().div(2).sqrt().item() == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("cls", [Ring, Grid])
def test_real_samples_score_what_a_perfect_generator_scores(cls):
    data = cls().load(NOWHERE, 0)
    _, good = data.modes.assign(data.train.images)
    expected = 1 - math.exp(-4.5)  # a Rayleigh variable below three sigma
    assert good.double().mean().item() == pytest.approx(
        expected, abs=4 * math.sqrt(expected * (1 - expected) / 100_000)
    )


@pytest.mark.parametrize("cls", [Ring, Grid])
def test_each_sample_goes_to_its_nearest_mode_within_three_sigma(cls):
    modes, centres = cls().load(NOWHERE, 0).modes, centres_of(cls.name)
    direction = torch.tensor([0.6, 0.8]) * cls().config.sigma
    for factor, good in ((0.0, True), (2.99, True), (3.01, False)):
        found, high = modes.assign(centres + factor * direction)
        order = torch.cdist(centres.double(), modes.centres).argmin(dim=1).tolist()
        assert found.tolist() == order
        assert sorted(order) == list(range(len(centres)))
        assert high.tolist() == [good] * len(centres)
    assert (found.dtype, high.dtype) == (torch.int64, torch.bool)


def test_points_that_are_not_finite_are_never_good():
    nan, inf = float("nan"), float("inf")
    _, high = Ring().load(NOWHERE, 0).modes.assign(torch.tensor([[nan, 0], [inf, inf], [1, nan], [1, 0]]))
    assert high.tolist() == [False, False, False, True]


def test_the_sample_is_fixed_and_train_and_test_differ():
    torch.manual_seed(0)
    first = Ring().load(NOWHERE, 0)
    torch.manual_seed(1)
    second = Ring().load(NOWHERE, 0)
    assert torch.equal(first.train.images, second.train.images)
    assert first.fingerprint == second.fingerprint
    modes = [first.modes.assign(split.images[:10_000])[0] for split in (first.train, first.test)]
    assert (modes[0] == modes[1]).double().mean() < 0.2  # one in eight by chance
    assert first.fingerprint != Grid().load(NOWHERE, 0).fingerprint


def test_options_change_the_mixture_and_its_fingerprint():
    data: Splits = configured(Ring, modes="5", radius="2", sigma="0.1").load(NOWHERE, 0)
    assert data.modes.count == 5
    assert data.train.images.norm(dim=1).mean().item() == pytest.approx(2, rel=0.01)
    assert data.fingerprint != Ring().load(NOWHERE, 0).fingerprint
    assert data.protocol["sigma"] == 0.1
    grid = configured(Grid, side="2", spacing="3").load(NOWHERE, 0)
    assert grid.modes.centres.tolist() == [[-1.5, -1.5], [-1.5, 1.5], [1.5, -1.5], [1.5, 1.5]]
    for wrong in ({"modes": "0"}, {"sigma": "0"}, {"radius": "-1"}):
        with pytest.raises(UserError, match="ring"):
            configured(Ring, **wrong)


def test_a_side_in_pixels_is_refused():
    with pytest.raises(UserError, match="ring is a set of points"):
        Ring().load(NOWHERE, 64)
    with pytest.raises(UserError, match="takes no argument"):
        Grid().of("5")


def scored(mixture: Mixture, n: int, seed: int) -> dict[str, float]:
    points = Features(mixture.draw(n, seed))
    scene = Scene(DataSpec((2,)), points, points, {}, modes=mixture)
    return {name: value.value for metric in (modes, high_quality, mode_kl) for name, value in metric(scene).items()}


@pytest.mark.parametrize(("cls", "n"), [(Ring, 5), (Ring, 30), (Ring, 2500), (Grid, 20), (Grid, 60), (Grid, 2500)])
def test_the_expectation_of_real_points_is_that_of_a_simulation(cls, n: int):
    mixture, rounds = cls().mixture(), 300
    found = [scored(mixture, n, seed) for seed in range(rounds)]
    expected = mixture.exact(n)
    assert expected.keys() == found[0].keys()
    for name, value in expected.items():
        values = torch.tensor([each[name] for each in found], dtype=torch.float64)
        slack = 4 * float(values.std()) / math.sqrt(rounds) + 1e-9
        assert float(values.mean()) == pytest.approx(value, abs=slack), name


def test_the_expectation_of_two_points_by_hand():
    """Each is good or not, in one mode of two; both good, they lie in one mode or in both."""
    assert expected_kl(1, 0.5, 2) == pytest.approx(math.log(2))
    assert expected_kl(2, 0.5, 2) == pytest.approx((0.5 * 1 + 0.25 * 0.5) / 0.75 * math.log(2))
    assert expected_kl(2, 1.0, 2) == pytest.approx(0.5 * math.log(2))
    assert expected_kl(100, 0.9, 1) == pytest.approx(0, abs=1e-12)
    assert expected_kl(10_000, 0.99, 25) == pytest.approx(24 / (2 * 9900), rel=0.01)  # (K - 1)/2N, of many samples


def test_nothing_is_expected_where_modes_overlap():
    assert configured(Ring, sigma="0.1").mixture().exact(100) == {}
    assert configured(Grid, side="1").mixture().exact(100)["modes"] == pytest.approx(1)
