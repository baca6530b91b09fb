"""Whether a quantity follows the distance: ranks by scipy and by hand; runs are in the tests of `progress`."""

import math
from types import SimpleNamespace

import pytest
from scipy import stats

from ganbench import UserError, follow_distance, rank_correlation
from ganbench.contract.types import Value
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.training.budget import Budget, Meters

SHARES = (0.25, 0.5, 0.75, 1.0)


def made(distances, metric="fid", traced=None):
    spec = RunSpec("gan", "digits", "dcgan", Budget(1000, "images"), 3, 8, 64)
    curve = [
        Mark(share, Meters(1, round(400 * share)), {metric: Value(d, {"n_fake": 10}, weights="ema")})
        for share, d in zip(SHARES, distances, strict=False)
    ]
    at_marks = {"loss/D": dict(zip(SHARES, (4.0, 3.0, 1.0, 2.0), strict=True))} if traced is None else traced
    return SimpleNamespace(record=RunRecord(spec, "done", curve=curve), at_marks=lambda part: at_marks)


def test_a_quantity_stands_beside_the_distance_of_the_same_marks():
    loss, images = follow_distance(made([9.0, 7.0, 8.0, 1.0]), 0.1, 4)
    assert (loss.name, images.name, loss.metric) == ("loss/D", "images", "fid")
    assert loss.way == ([4.0, 3.0, 1.0, 2.0], [9.0, 7.0, 8.0, 1.0])
    assert loss.rank == pytest.approx(stats.spearmanr(*loss.way).statistic)
    assert loss.of_changes == pytest.approx(stats.spearmanr([-1, -2, 1], [-2, 1, -7]).statistic)
    assert images.way[0] == [100, 200, 300, 400]
    assert loss.measured_by == "fid: n_fake 10, weights ema"
    assert loss.lines[1] == {
        **{"variant": "gan", "seed": "3", "quantity": "loss/D", "distance": "fid", "share": 0.5, "value": 3.0},
        **{"of_distance": 7.0, "rank": loss.rank, "rank_of_changes": loss.of_changes},
    }


def test_what_is_not_finite_is_told_and_ranks_nothing():
    loss, _ = follow_distance(made([9.0, math.inf, 8.0, math.nan], "fd-x"), 0.1, 4)
    assert loss.odd == ["fd-x is inf at 50% of the budget", "fd-x is nan at 100% of the budget"]
    assert math.isnan(loss.rank) and math.isnan(loss.of_changes)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (made([9.0, 7.0, 8.0]), "3 marks have a Fréchet distance, 4 are needed"),
        (made([9.0, 7.0, 8.0, 1.0], "kid"), "0 marks have a Fréchet distance"),
        (made([9.0, 7.0, 8.0, 1.0], traced={}), "nothing was traced"),
    ],
)
def test_who_cannot_tell_is_one_sentence(run, why):
    with pytest.raises(UserError, match=why):
        list(follow_distance(run, 0.1, 4))


def test_quantities_of_too_few_marks_are_left_out():
    run = made([9.0, 7.0, 8.0, 1.0], traced={"loss/D": {1.0: 1.0}})
    assert [each.name for each in follow_distance(run, 0.1, 4)] == ["images"]


def test_the_rank_correlation_of_five_is_that_by_hand_and_what_stands_still_has_none():
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3])) and math.isnan(
        rank_correlation([1, 2, math.inf], [1, 2, 3])
    )
