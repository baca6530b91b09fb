"""Median and trend of gradient norms against traces whose answer is known."""

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics.gradients import ganbench_metrics

from ganbench import DataSpec, Features, Scene, UserError, Value


def measure(name: str, **traces: object) -> dict[str, Value]:
    none = Features(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    recorded = {f"grad_norm/{player}": np.asarray(trace, dtype=np.float32) for player, trace in traces.items()}
    (metric,) = [metric for metric in ganbench_metrics() if metric.name == name]
    return dict(metric.compute(Scene(DataSpec((1, 8, 8)), none, none, recorded)))


def test_the_median_of_all_updates_of_the_right_player() -> None:
    traces = {"G": [5, 1, 2, 100, 3], "D": [7, 9]}
    assert measure("grad-norm-g", **traces)["grad-norm-g"].value == 3
    assert measure("grad-norm-d", **traces)["grad-norm-d"].value == 8


@pytest.mark.parametrize("decades", [-5.0, 0.0, 2.5])
def test_the_trend_of_an_exponential_is_its_decades(decades: float) -> None:
    trace = 10 ** (0.3 + decades * np.linspace(0, 1, 4000))
    assert measure("grad-norm-g", G=trace)["grad-norm-g-trend"].value == pytest.approx(decades, abs=1e-5)


def test_the_trend_is_a_least_squares_slope() -> None:
    trace = np.random.default_rng(0).lognormal(size=501)
    x, y = np.arange(501) / 500, np.log10(trace.astype(np.float32))
    expected = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert measure("grad-norm-d", D=trace)["grad-norm-d-trend"].value == pytest.approx(expected, rel=1e-6)


def test_zeros_count_in_the_median_and_not_in_the_trend() -> None:
    trace = 10 ** np.linspace(0, -2, 101)
    trace[50:61] = 0
    values = measure("grad-norm-g", G=trace)
    assert values["grad-norm-g-trend"].value == pytest.approx(-2, abs=1e-5)
    assert values["grad-norm-g-zeros"].value == pytest.approx(11 / 101)
    assert values["grad-norm-g"].value == pytest.approx(np.median(trace), rel=1e-6)


def test_runs_with_different_zeros_share_a_protocol() -> None:
    first, second = measure("grad-norm-g", G=[1, 2, 3]), measure("grad-norm-g", G=[1, 0, 3, 4])
    for name in ("grad-norm-g", "grad-norm-g-trend"):
        assert first[name].protocol_hash == second[name].protocol_hash
    assert "grad-norm-g-zeros" not in first


@pytest.mark.parametrize("trace", [[2.0], [0.0, 0.0, 0.0], [0.0, 2.0]])
def test_no_trend_without_two_norms_above_zero(trace: list[float]) -> None:
    values = measure("grad-norm-g", G=trace)
    assert values["grad-norm-g"].value == np.median(trace) and "grad-norm-g-trend" not in values


def test_a_player_that_is_not_there_is_named() -> None:
    for traces in ({"D": [1.0]}, {"D": [1.0], "G": []}):
        with pytest.raises(UserError, match="no updates of a player 'G'"):
            measure("grad-norm-g", **traces)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_named_and_never_skipped(bad: float) -> None:
    with pytest.raises(UserError, match=f"update 2 of player 'D' is {bad}"):
        measure("grad-norm-d", D=[1.0, 2.0, bad, 3.0])


def test_no_samples_are_needed_and_nothing_is_better() -> None:
    assert [metric.name for metric in ganbench_metrics()] == ["grad-norm-g", "grad-norm-d"]
    assert not any(metric.samples for metric in ganbench_metrics())
    assert all(metric.higher_is_better is None for metric in ganbench_metrics())


def test_norms_that_are_all_alike_have_no_trend() -> None:
    assert measure("grad-norm-g", G=np.full(50, 3.0))["grad-norm-g-trend"].value == pytest.approx(0, abs=1e-12)
