"""Claims of numbers over seeds."""

import math

from ganbench.results.verdicts import (
    above_zero,
    all_are,
    at_most,
    by_seed,
    compared,
    ends_of,
    mean_of,
    of_all,
    with_interval,
)


def test_it_holds_where_all_intervals_are_above_zero():
    clear, open_, below = [1.0, 1.1, 0.9], [1.0, -1.0, 0.1], [-1.0, -1.1, -0.9]
    assert above_zero("it is so.", {"a": clear, "b": [2.0, 2.1]}, "n").holds is True
    claim = above_zero("it is so.", {"a": clear, "b": open_}, "n")
    assert (
        claim.holds is None and claim.reason == "Not told from 0 by these seeds: b." and "a +1.00 ± 0.25" in claim.found
    )
    assert above_zero("", {"a": clear, "b": below, "c": open_}, "n").holds is False
    assert above_zero("", {"a": clear, "b": [5.0]}, "n").reason == "No interval, one seed: b."
    assert above_zero("", {"a": clear, "b": [math.nan, 1.0]}, "n").holds is None
    assert above_zero("", {"a": []}, "n") is None and above_zero("", {}, "n") is None


def test_a_mean_is_written_with_its_interval_where_it_has_one():
    assert [with_interval(numbers) for numbers in ([], [0.5], [0.5, math.nan])] == ["-", "0.50", "nan"]
    assert with_interval([0.5, math.nan], "+.2f") == "nan"  # which has no sign
    assert with_interval([1.0, 2.0], "+.1f") == "+1.5 ± 6.4"  # t(1) = 12.706, deviation 0.7071: 12.706 · 0.5
    assert with_interval([1.0, 2.0], ".4f", ".1g") == "1.5000 ± 6"
    assert with_interval([1.0, 2.0], ".3g", ".1f") == "1.5 ± 6.4"


def test_values_of_a_seed_are_means_and_those_missing_are_missing():
    made = [{"seed": 0, "a": 1.0, "x": 1}, {"seed": 0, "a": 3.0, "x": 1}, {"seed": 1, "x": 1}, {"seed": 2, "a": 9.0}]
    assert by_seed(made, "a", x=1) == {0: 2.0}
    assert by_seed([{"seed": 0, "a": None}, {"seed": 1, "a": 0.0}], "a") == {1: 0.0}


def test_the_mean_of_a_value_is_over_seeds_among_rows_that_have_it():
    rows = [{"seed": 0, "a": 1.0, "of": "x"}, {"seed": 1, "a": None, "of": "x"}, {"seed": 2, "a": 9.0, "of": "y"}]
    assert mean_of(rows, "a", ".1f", of="x") == "1.0"
    assert mean_of([*rows, {"seed": 3, "a": 2.0, "of": "x"}], "a", "+.1f", ".2f", of="x") == "+1.5 ± 6.35"
    assert mean_of(rows, "a", of="z") == "-"


def test_what_is_said_of_every_number_holds_fails_or_is_not_decided():
    def judge(*numbers, **more):
        return all_are("said", "found", numbers, lambda number: number > 0, reason="why", **more)

    assert (judge(1.0, 2.0).holds, judge(1.0, 2.0).reason) == (True, "")
    assert judge(math.inf, 1.0).holds is True and judge(1.0, known=False).holds is True
    assert (judge(1.0, -2.0).holds, judge(1.0, -2.0).reason) == (False, "why")
    for open_ in (judge(-1.0, known=False), judge(math.nan, -1.0)):
        assert (open_.holds, open_.reason) == (None, "")


def test_ends_are_the_least_and_the_greatest():
    assert ends_of({"a": 1.0, "b": -2.5, "c": 0.0}, "decades") == "-2.50 decades (b) to +1.00 decades (a)"
    assert ends_of({"a": 1.0}, "units") == "+1.00 units (a)"


def test_what_is_small_is_so_where_all_means_are():
    claim = at_most("it is small.", {"a": [0.1, 0.3], "b": [0.1], "c": []}, 0.2, "n")
    assert claim.holds is True and claim.found == "n: a 0.2 ± 1.27; b 0.1." and not claim.reason
    claim = at_most("it is small.", {"a": [0.1], "b": [0.5], "c": [math.nan, 0.1]}, 0.2, "n")
    assert claim.holds is False and claim.reason == "More than 0.2, why was not measured: b, c."
    assert at_most("", {"a": []}, 1.0, "n") is None and at_most("", {}, 1.0, "n") is None


def test_a_part_of_all_is_told_and_all_are_a_number():
    assert [of_all(3, 3), of_all(2, 3), of_all(0, 1)] == ["3", "2 of 3", "0 of 1"]


def test_rows_are_compared_by_the_differences_seed_by_seed():
    low = {0: 1.0, 1: 5.0, 2: 9.0}
    claim = compared("it is more.", {seed: value + 1 for seed, value in low.items()}, low, ".1f")
    assert claim.holds is True and claim.reason == ""
    assert claim.found == "6.0 ± 9.9 against 5.0 ± 9.9; difference by seed 1.0 ± 0.0, 3 seeds."  # 4.303 · 4 / √3 = 9.94
    assert compared("", low, {seed: value + 1 for seed, value in low.items()}).holds is False
    assert compared("", {0: 1.0, 1: 3.0}, {0: 2.0, 1: 2.0}).holds is None
    alone = compared("", {0: 2.0}, low)
    assert alone.holds is None and alone.reason.startswith("No interval, one seed") and "1 seed." in alone.found
    assert compared("", {7: 2.0}, low).found == "no seed has both."


def test_where_the_other_row_has_all_there_is_no_room():
    full = {0: 8.0, 1: 8.0}
    assert compared("", full, full, ".0f", most=8).reason == "There is no room: the second has 8 in every run."
    assert "no room" not in compared("", full, {0: 8.0, 1: 7.0}, most=8).reason
    assert "no room" not in compared("", full, full).reason
