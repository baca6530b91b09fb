"""The critic's estimate and its rank correlation, against traces and marks whose answer is known."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.metrics.wasserstein import ganbench_metrics, wasserstein_estimate
from scipy.stats import rankdata

from ganbench import DataSpec, Features, ImageSet, Past, Scene, UserError, Value
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer

RNG = np.random.default_rng(0)


def measure(trace: Sequence[float] | np.ndarray | None, *past: Past) -> Mapping[str, Value]:
    none = Features(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    traces = {} if trace is None else {"log/wasserstein": np.asarray(trace, dtype=np.float32)}
    return wasserstein_estimate(Scene(DataSpec((1, 8, 8)), none, none, traces, past=past))


def marks(distances: Sequence[float], every: int, name: str = "fid") -> list[Past]:
    return [
        Past((k + 1) / len(distances), {"D": every * (k + 1), "G": k + 1}, {"grad-norm-g": 1.0, name: distance})
        for k, distance in enumerate(distances)
    ]


def test_the_value_is_the_median_over_the_last_tenth() -> None:
    trace = RNG.normal(size=1000)
    expected = np.sort(trace[900:].astype(np.float32))[49:51].mean()
    found = measure(trace)
    assert found["wasserstein-estimate"].value == pytest.approx(expected, rel=1e-6) and len(found) == 1
    assert measure([7.0, 3.0])["wasserstein-estimate"].value == 3
    assert measure([*[1.0] * 90, *[2.0] * 9, 1e6])["wasserstein-estimate"].value == 2, "one outlier moves no median"


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_is_the_correlation_of_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 5, 8).astype(float)  # with ties
    trace = np.repeat(rng.integers(0, 5, 8), 100) + rng.uniform(0, 0.1, 800)
    medians = [np.median(trace[: 100 * (k + 1)].astype(np.float32)[-10 * (k + 1) :]) for k in range(8)]
    expected = np.corrcoef(rankdata(medians), rankdata(distances))[0, 1]
    found = measure(trace, *marks(distances.tolist(), 100))["wasserstein-estimate-rank"]
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.protocol["distance"] == "fid" and found.higher_is_better is None


def test_an_estimate_that_falls_with_the_distance_scores_one_and_one_that_rises_the_opposite() -> None:
    falling = np.linspace(5, 1, 500)
    assert measure(falling, *marks([90, 50, 30, 20, 5], 100))["wasserstein-estimate-rank"].value == pytest.approx(1)
    assert measure(falling, *marks([5, 20, 30, 50, 90], 100))["wasserstein-estimate-rank"].value == pytest.approx(-1)


def test_only_what_was_logged_up_to_a_mark_counts_for_it() -> None:
    """The whole trace ends alike for all marks."""
    trace = np.concatenate([np.full(100, level) for level in (1.0, 3.0, 2.0)])
    assert measure(trace, *marks([10, 30, 20], 100))["wasserstein-estimate-rank"].value == pytest.approx(1)


def test_the_distance_is_the_first_frechet_distance_that_enough_marks_have() -> None:
    past = [
        Past(
            mark.share, mark.updates, {"kid": 1.0, "fd-late": 2.0, **mark.values, "fid": 3.0} if k > 1 else mark.values
        )
        for k, mark in enumerate(marks([4, 3, 2, 1], 10, "fd-classifier"))
    ]
    found = measure(np.linspace(2, 1, 40), *past)["wasserstein-estimate-rank"]
    assert (found.protocol["distance"], found.value) == ("fd-classifier", pytest.approx(1))


@pytest.mark.parametrize(
    "past",
    [
        [],
        marks([3, 2], 50),
        marks([3, 2, 1], 33, "kid"),
        marks([2, 2, 2], 33),
        [Past(0.0, {"D": 0}, {"fid": 9.0}), *marks([3, 2], 50)],
        [Past(0.0, {}, {"fid": 9.0}), *marks([3, 2], 50)],
    ],
)
def test_no_rank_without_three_marks_that_differ(past: list[Past]) -> None:
    assert list(measure(np.linspace(2, 1, 100), *past)) == ["wasserstein-estimate"]


def test_a_mark_before_training_is_left_out_of_the_rank() -> None:
    past = [Past(0.0, {"D": 0}, {"fid": 0.1}), *marks([3, 2, 1], 30)]
    assert measure(np.linspace(2, 1, 90), *past)["wasserstein-estimate-rank"].value == pytest.approx(1)


def test_an_estimate_that_never_moves_has_no_rank() -> None:
    assert list(measure(np.ones(90), *marks([3, 2, 1], 30))) == ["wasserstein-estimate"]


def test_what_was_not_logged_or_is_not_finite_is_told() -> None:
    for trace in (None, []):
        with pytest.raises(UserError, match="no estimate of a Wasserstein distance was logged"):
            measure(trace)
    with pytest.raises(UserError, match="at its update 2 is inf"):
        measure([1, 2, np.inf, 3])


@pytest.mark.parametrize("name", ["wgan", "wgan-gp", "wgan-lp"])
def test_critics_log_one_estimate_an_update(name: str) -> None:
    data, backbone, cls = Digits().load(None, 8), DCGAN(), discover().get("variant", name).item  # type: ignore[arg-type]
    backbone.config = Convolutions(width=4, z_dim=4)
    variant = build_variant(cls, backbone, data.spec(), seed=0, config=resolve(cls, name, {}))
    train = ImageSet(data.train.images[:64])
    trainer = Trainer(variant, train, Budget.parse("96-images"), seed=0, batch=8, device=torch.device("cpu"))
    for _ in trainer.train(1.0):
        pass
    traces = trainer.traces()
    assert len(traces["log/wasserstein"]) == len(traces["loss/D"]) == trainer.meters.updates["D"] > 1
    assert measure(traces["log/wasserstein"])["wasserstein-estimate"].value


def test_what_the_metric_says_of_itself() -> None:
    (metric,) = ganbench_metrics()
    assert (metric.name, metric.needs, metric.samples) == ("wasserstein-estimate", {"past"}, False)
    assert metric.higher_is_better is None and metric.worst is None
