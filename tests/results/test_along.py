"""Currencies along a run, and traces on them."""

import math

import numpy as np
import pytest

from ganbench.results.along import OVER, along, amount, at_marks, thinned
from ganbench.results.record import Mark
from ganbench.training.budget import Meters


def meters(steps, seconds, *, critic=1):
    return Meters(steps, 50 * steps, {"D": steps, "G": steps // critic}, 1e6 * steps, seconds)


def test_every_currency_is_read_from_the_meters():
    spent = meters(10, 3.5, critic=5)
    assert [amount(spent, over) for over in OVER] == [500.0, 2.0, 3.5, 1e7]
    assert amount(Meters(updates={"D": 4}), "updates") is None


@pytest.mark.parametrize("over", ["images", "updates", "flops"])
def test_an_update_lies_where_its_step_ended(record, over):
    run = record(meters=meters(20, 9.0, critic=5), curve=[Mark(0.5, meters(10, 3.0, critic=5), {})])
    each = {"images": 50.0, "updates": 0.2, "flops": 1e6}[over]
    assert along("loss/D", 20, run, over).tolist() == pytest.approx([each * step for step in range(1, 21)])
    assert along("grad_norm/G", 4, run, over).tolist() == pytest.approx([each * step for step in (5, 10, 15, 20)])


def test_seconds_follow_the_marks(record):
    """The first half took 3 seconds, the second 6."""
    run = record(meters=meters(20, 9.0), curve=[Mark(0.5, meters(10, 3.0), {})])
    found = along("loss/D", 20, run, "seconds")
    assert found[[0, 9, 10, 19]].tolist() == pytest.approx([0.3, 3.0, 3.6, 9.0])


def test_what_is_logged_belongs_to_the_player_with_as_many_updates(record):
    """This D is updated in the second half alone, at each of its steps; G evenly, every second step."""
    half, whole = (Meters(steps, 50 * steps, {"D": d, "G": steps // 2}, 0, 0) for steps, d in ((10, 0), (20, 7)))
    run = record(meters=whole, curve=[Mark(0.5, half, {})])
    assert along("log/k", 7, run, "images")[[0, -1]].tolist() == pytest.approx([500 + 500 / 7, 1000])
    assert along("log/k", 4, run, "images").tolist() == pytest.approx([250, 500, 750, 1000]), "nobody's: evenly"


def test_what_has_no_generator_cannot_be_shown_over_its_updates(record):
    run = record(meters=Meters(5, 250, {"D": 5}, 1.0, 1.0))
    assert along("loss/D", 5, run, "updates") is None and along("loss/D", 5, run, "images") is not None


@pytest.mark.parametrize("width", [1, 2, 3, 7, 50])
def test_bins_are_means(width):
    numbers = np.random.default_rng(0).normal(size=23).astype(np.float32)
    expected = [
        math.fsum(map(float, part)) / len(part) for k in range(0, 23, width) for part in [numbers[k : k + width]]
    ]
    assert thinned(numbers, width) == pytest.approx(expected, rel=1e-14)


def test_what_is_no_number_stays_visible_in_its_bin():
    inf, nan = math.inf, math.nan
    found = thinned(np.array([1, 2, nan, 4, 5, inf, -inf, inf, 9]), 2)
    assert found[0] == 1.5 and found[4] == 9 and found[2] == inf
    assert math.isnan(found[1]) and math.isnan(found[3])


def test_large_numbers_do_not_become_infinite():
    largest = np.finfo(np.float64).max
    assert thinned(np.full(4, largest), 4) == [largest]
    assert thinned(np.empty(0), 3) == []


def test_a_trace_at_marks_is_the_median_of_the_last_updates_of_its_player(record):
    stops = [Meters(), *(Meters(k, 64 * k, {"D": k, "G": k // 4}) for k in (3, 10, 40))]
    curve = [Mark(k / 3, stop, {}) for k, stop in enumerate(stops)]
    run = record(curve=curve, meters=stops[-1])
    trace = np.arange(40.0)
    assert at_marks("loss/D", trace, run, 0.2) == {1 / 3: 2, 2 / 3: 8.5, 1.0: 35.5}
    assert at_marks("log/k", trace, run, 0.0) == {1 / 3: 2, 2 / 3: 9, 1.0: 39}, "logged at the updates of D"
    assert at_marks("loss/G", trace[:10], run, 0.0) == {2 / 3: 1, 1.0: 9}, "G was not updated before the second"
    trace[36] = np.nan
    assert np.isnan(at_marks("loss/D", trace, run, 0.2)[1.0])
    assert at_marks("loss/D", trace, run, 0.0)[1.0] == 39
