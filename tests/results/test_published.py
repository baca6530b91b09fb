"""Published numbers: as they stand in records of any age, and the intervals that follow from their errors."""

import numpy as np
import pytest
from scipy import stats

from ganbench import Published, UserError
from ganbench.results.published import Quoted, published_interval, quoted


def test_a_standard_error_and_a_deviation_of_the_same_runs_give_one_interval():
    numbers = np.random.default_rng(0).normal(size=10)
    mean, deviation = float(numbers.mean()), float(numbers.std(ddof=1))
    wanted = stats.t.interval(0.95, 9, loc=mean, scale=stats.sem(numbers))
    assert published_interval(mean, deviation, 10, "standard deviation") == pytest.approx(wanted)
    assert published_interval(mean, deviation / 10**0.5, 10, "standard error") == pytest.approx(wanted)


def test_an_interval_stays_what_it_is():
    assert published_interval(5.0, 0.5, None, "interval") == (4.5, 5.5)


@pytest.mark.parametrize(
    ("error", "runs", "kind"),
    [(None, 10, "standard error"), (0.5, None, "standard error"), (0.5, 1, "standard deviation"), (0.5, 10, "")],
)
def test_where_it_is_not_known_what_an_error_is_there_is_no_interval(error, runs, kind):
    assert published_interval(5.0, error, runs, kind) is None


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ([6.3, 0.5], Quoted(6.3, 0.5)),
        ([7, None], Quoted(7)),
        ([6.3, 0.5, 10, "standard error"], Quoted(6.3, 0.5, 10, "standard error")),
        ([6.3, 0.5, None, "interval"], Quoted(6.3, 0.5, None, "interval")),
        ([6.3, 0.5, 10, "a guess"], None),
        ([6.3, 0.5, "ten", ""], None),
        (["6.3", 0.5], None),
        (6.3, None),
        (None, None),
    ],
)
def test_records_of_any_age_are_read_and_of_any_content(held, wanted):
    assert quoted({"values": {"modes": held}}, "modes") == wanted


@pytest.mark.parametrize("published", [{}, {"values": 3}, {"values": {"fid": [1, 2]}}])
def test_nothing_said_is_nothing_quoted(published):
    assert quoted(published, "modes") is None


def test_a_quoted_number_has_its_interval():
    assert Quoted(6.3, 0.5, 10, "standard error").interval == published_interval(6.3, 0.5, 10, "standard error")


def test_a_kind_that_there_is_not_is_told():
    with pytest.raises(UserError, match="gan on ring, modes: kind='sem' is none of"):
        Published("ring", "gan", "modes", 6.3, 0.5, 10, "sem")
