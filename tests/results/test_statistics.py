"""Statistics of a score: interquartile mean, spread of training and of evaluation, intervals."""

import statistics

import numpy as np
import pytest
from scipy import stats

from ganbench.contract.types import Value
from ganbench.results.statistics import Score, interval_of_mean, mean_with_interval


def score(numbers, **of_value):
    return Score("fid", {seed: Value(number, **of_value) for seed, number in enumerate(numbers)})


def drawn(n, seed=0):
    return np.random.default_rng(seed).lognormal(size=n).tolist()


@pytest.mark.parametrize("n", [8, 9, 10, 11, 12, 30])
def test_the_interquartile_mean_is_scipys_trimmed_mean(n):
    assert score(drawn(n)).iqm == pytest.approx(stats.trim_mean(drawn(n), 0.25), rel=1e-14)


def test_few_seeds_have_no_interquartile_mean():
    assert score(drawn(7)).iqm is None and score(drawn(7)).iqm_interval is None


def test_one_seed_that_went_astray_does_not_move_the_interquartile_mean():
    numbers = [*drawn(9), 1e12]
    assert score(numbers).iqm < 10 < 1e10 < score(numbers).mean


@pytest.mark.parametrize("n", [8, 20])
def test_its_interval_is_that_of_scipys_percentile_bootstrap(n):
    numbers = drawn(n)
    low, high = score(numbers).iqm_interval
    wanted = stats.bootstrap(
        (numbers,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=20_000, method="percentile", rng=1
    )
    width = wanted.confidence_interval.high - wanted.confidence_interval.low
    assert low == pytest.approx(wanted.confidence_interval.low, abs=0.1 * width)
    assert high == pytest.approx(wanted.confidence_interval.high, abs=0.1 * width)
    assert score(numbers).iqm_interval == (low, high), "drawn alike each time"


def test_training_and_evaluation_are_told_apart():
    """Models of standard deviation 3, each evaluated four times with one of 2: as a random-effects model has it."""
    rng = np.random.default_rng(0)
    models = 50 + 3 * rng.normal(size=(4000, 1))
    evaluations = models + 2 * rng.normal(size=(4000, 4))
    values = {seed: Value(float(some.mean()), repeats=tuple(some.tolist())) for seed, some in enumerate(evaluations)}
    spreads = Score("fid", values).spreads
    assert spreads.seeds == pytest.approx(3, rel=0.05) and spreads.evaluation == pytest.approx(2, rel=0.05)
    assert spreads.source == "repeats" and not spreads.floored
    # The same by the mean squares of an analysis of variance.
    between, within = 4 * np.var(evaluations.mean(axis=1), ddof=1), np.var(evaluations, axis=1, ddof=1).mean()
    assert spreads.seeds**2 == pytest.approx((between - within) / 4) and spreads.evaluation**2 == pytest.approx(within)


def test_a_standard_error_within_an_evaluation_serves_where_there_is_one_evaluation():
    numbers = [10.0, 14.0, 12.0]
    spreads = score(numbers, spread=1.0).spreads
    assert spreads.source == "spread" and spreads.evaluation == 1.0
    assert spreads.seeds**2 == pytest.approx(statistics.variance(numbers) - 1)


def test_seeds_that_vary_less_than_their_evaluations_have_no_spread_of_their_own_and_it_is_said():
    spreads = score([10.0, 10.1, 9.9], spread=5.0).spreads
    assert spreads.seeds == 0 and spreads.floored and spreads.evaluation == 5.0


@pytest.mark.parametrize("some", [score([1.0, 2.0]), score([1.0], spread=1.0), score([1.0, 2.0], repeats=(1.0,))])
def test_what_cannot_be_told_apart_is_not(some):
    assert some.spreads is None


def test_numbers_beyond_all_bounds_have_neither():
    assert score([1e300, -1e300, 0.0], spread=1e300).spreads is None
    assert score([1.7e308, -1.7e308] * 5).iqm_interval is None


def test_an_interval_of_a_mean_is_scipys():
    low, high = interval_of_mean(6.3, 0.5, 10)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 9, loc=6.3, scale=0.5))


def test_a_mean_of_numbers_has_the_interval_of_scipy_and_a_single_one_none():
    numbers = [0.9, 0.4, 0.7, 0.75]
    mean, half = mean_with_interval(numbers)
    expected = stats.t.interval(0.95, 3, loc=np.mean(numbers), scale=stats.sem(numbers))
    assert (mean - half, mean + half) == pytest.approx(expected)
    assert mean_with_interval([0.5]) == (0.5, None)
    mean, half = mean_with_interval([0.5, float("nan"), 1.0])
    assert np.isnan(mean) and half is None
