"""Ranks: direction, real data, failures, missing seeds, ties; bold and letters by what can be told apart."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from ganbench.contract.types import UNAVAILABLE, Value
from ganbench.results.ranking import rank_rows
from ganbench.results.record import STOPPED
from ganbench.results.rows import rows


@pytest.fixture
def ranked(record):
    """Return the standings of rows by name, and the note; of each row its numbers by seed, or a status or reason."""

    def by_name(numbers, *, facts=None, more=None, **of_value):
        records = []
        for variant, of in numbers.items():
            for seed, number in enumerate(of):
                values, status, unscored, error = {}, "done", {}, ""
                if number in ("diverged", "error", "killed"):
                    status = number
                elif number == "stopped":
                    status, error = "killed", STOPPED
                elif isinstance(number, str):
                    unscored = {"fid": number}
                elif number is not None:
                    values = {"fid": [Value(number, {}, **{"higher_is_better": False, **of_value})]}
                details = {"variant": (facts or {}).get(variant, {}), "spec": (more or {}).get(variant, {})}
                records.append(record(variant, seed, values, status=status, unscored=unscored, error=error, **details))
        table = rows(records)
        ranking = rank_rows(table, [row.scores.get("fid", [None])[0] for row in table])
        return {row.spec.variant: each for row, each in zip(table, ranking.standings, strict=True)}, ranking.note

    return by_name


def ranks(standings):
    return {name: standing.rank for name, standing in standings.items()}


NOISE = [0.3, -0.2, 0.1, -0.4, 0.25, 0.05, -0.1, 0.15]


def around(mean, scale=1.0, n=5, shift=0):
    return [mean + scale * each for each in (NOISE[shift:] + NOISE[:shift])[:n]]


def test_rows_are_ranked_by_mean_in_the_metrics_direction(ranked):
    numbers = {"a": [3.0, 4.0], "b": [1.0, 9.0], "c": [2.0, 2.0], "d": [4.0, 3.0]}
    lower, _ = ranked(numbers)
    assert ranks(lower) == {"a": 2.5, "b": 4, "c": 1, "d": 2.5}
    assert ranks(ranked(numbers, higher_is_better=True)[0]) == {"a": 2.5, "b": 1, "c": 4, "d": 2.5}


def test_a_metric_without_a_direction_ranks_nobody(ranked):
    standings, note = ranked({"a": around(1), "b": around(9)}, higher_is_better=None)
    assert ranks(standings) == {"a": None, "b": None} and note == ""
    assert not any(standing.best or standing.letters for standing in standings.values())


def test_nobody_is_rewarded_for_beating_real_data(ranked):
    numbers = {"like": [0.31, 0.29], "below": [0.1, 0.1], "above": [0.35, 0.35], "spread": [0.0, 0.6]}
    standings, _ = ranked(numbers, near_reference=True, reference=0.3)
    assert ranks(standings) == {"like": 1, "above": 2, "below": 3, "spread": 4}, "distances are of seeds, not of means"
    assert ranks(ranked(numbers, near_reference=True)[0])["below"] == 1, "without a reference, the direction decides"


def test_each_seed_is_compared_with_its_own_reference(record):
    def run(variant, seed, number, reference):
        return record(variant, seed, {"x": [Value(number, {}, reference, near_reference=True)]})

    table = rows([run("a", 0, 1.0, 1.0), run("a", 1, 5.0, 5.0), run("b", 0, 2.0, 1.0), run("b", 1, 4.0, 5.0)])
    standings = rank_rows(table, [row.scores["x"][0] for row in table]).standings
    assert [standing.rank for standing in standings] == [1, 2]


@pytest.mark.parametrize("bad", ["diverged", "error", "killed", "fid came out as nan"])
def test_a_bad_seed_is_worse_than_every_number_where_the_metric_has_no_end(ranked, bad):
    standings, note = ranked({"one": [1.0, 1.0, bad], "none": [9.0] * 3, "two": [1.0, bad, bad], "all": [bad] * 3})
    assert ranks(standings) == {"none": 1, "one": 2, "two": 3, "all": 4}
    assert {name: each.counted_worst for name, each in standings.items()} == {"none": 0, "one": 1, "two": 2, "all": 3}
    assert "6 seeds that diverged, failed or came to no value count as worst" in note


def test_a_bad_seed_counts_as_the_end_that_a_metric_names(ranked):
    numbers = {"failing": [1.0, 1.0, 1.0, "diverged"], "poor": [0.2] * 4, "good": [0.9] * 4}
    standings, _ = ranked(numbers, higher_is_better=True, worst=0.0)
    assert ranks(standings) == {"good": 1, "failing": 2, "poor": 3}
    near, _ = ranked({"failing": [0.0, "diverged"], "far": [7.0, 7.0]}, near_reference=True, reference=0.0, worst=1.0)
    assert ranks(near) == {"failing": 1, "far": 2}
    near, _ = ranked({"failing": ["diverged"] * 2, "far": [7.0, 7.0]}, near_reference=True, reference=0.0, worst=1.0)
    assert ranks(near) == {"failing": 1.5, "far": 1.5}, "the end was none: who has a value is not behind who has none"


@pytest.mark.parametrize("missing", [None, "stopped", UNAVAILABLE + "no weights"])
def test_a_missing_seed_is_not_bad_but_never_bold(ranked, missing):
    numbers = {"best": [*around(1, n=5), missing], "poor": around(90, n=6, shift=2)}
    standings, _ = ranked(numbers)
    assert ranks(standings) == {"best": 1, "poor": 2} and standings["best"].counted_worst == 0
    assert (standings["best"].letters, standings["poor"].letters) == ("a", "b")
    assert not standings["best"].best
    assert ranked({**numbers, "best": around(1, n=6)})[0]["best"].best, "it is the missing seed that forbids it"


def test_a_row_with_a_seed_fewer_than_its_table_is_never_bold(ranked):
    standings, _ = ranked({"best": around(1, n=5), "poor": around(90, n=6, shift=2)})
    assert not standings["best"].best and standings["best"].letters == "a"


def test_a_row_with_a_bad_seed_is_never_bold(ranked):
    numbers = {"best": [*around(1, n=5), "diverged"], "poor": around(90, n=6, shift=2)}
    standings, _ = ranked(numbers, worst=100.0)
    assert standings["best"].rank == 1 and not standings["best"].best


def test_controls_and_rows_of_other_numbers_take_no_part(ranked):
    numbers = {"control": around(0.0), "older": around(0.1), "a": around(5, shift=1), "b": around(90, shift=2)}
    standings, note = ranked(numbers, facts={"control": {"family": "control"}}, more={"older": {"numbers": 1}})
    assert ranks(standings) == {"control": None, "older": None, "a": 1, "b": 2}
    assert standings["a"].best and "1 pair" in note


def test_a_metric_that_was_not_asked_of_a_row_leaves_it_out(ranked):
    assert ranks(ranked({"a": [1.0, 2.0], "b": [None, "diverged"]})[0]) == {"a": 1, "b": None}


def test_few_seeds_are_ranked_without_a_test(ranked):
    standings, note = ranked({"a": around(1, n=4), "b": around(50, n=4), "c": around(99, n=4)})
    assert ranks(standings) == {"a": 1, "b": 2, "c": 3}
    assert not any(standing.best or standing.letters for standing in standings.values())
    assert note == "n=4 seeds: too few to test 3 rows, which takes 5; ranked by mean, nothing bold"


def test_a_row_alone_is_first_and_no_more(ranked):
    standings, note = ranked({"a": around(1)})
    assert standings["a"].rank == 1 and not standings["a"].best and note == ""


def test_rows_that_follow_the_seed_are_told_apart_though_their_intervals_overlap(ranked):
    """What the pairing is for: all rows are bad on the same seeds."""
    shared = [0.0, 40.0, 15.0, 80.0, 5.0]
    numbers = {name: [mean + s + e for s, e in zip(shared, around(0, shift=shift), strict=True)]
               for shift, (name, mean) in enumerate((("a", 10.0), ("b", 12.0)))}  # fmt: skip
    standings, note = ranked(numbers)
    assert stats.ttest_ind(*numbers.values()).pvalue > 0.5
    assert standings["a"].best and (standings["a"].letters, standings["b"].letters) == ("a", "b")
    assert note.startswith("paired t-tests over 5 seeds, Holm's correction for 1 pair: rows that share a letter cannot")


def test_bold_are_the_first_and_those_like_it_but_none_that_only_varies_too_much(ranked):
    numbers = {
        "first": around(1.0),
        "second": around(1.05, shift=1),
        "noisy": around(20.0, 100, shift=3),
        "poor": around(30, shift=2),
        "poorer": around(60, shift=4),
    }
    standings, _ = ranked(numbers)
    assert {name for name, standing in standings.items() if standing.best} == {"first", "second"}
    assert set(standings["noisy"].letters) & set(standings["first"].letters)


def test_nothing_is_bold_where_nothing_is_told_apart(ranked):
    standings, note = ranked({"a": around(1), "b": around(1.01, shift=1), "c": around(1.02, shift=2)})
    assert not any(standing.best for standing in standings.values())
    assert {standing.letters for standing in standings.values()} == {"a"} and note.endswith("nothing is clearly best")


def test_the_order_of_rows_is_that_given_and_changes_nothing(ranked):
    numbers = {"a": around(5), "b": around(1, shift=1), "c": around(30, shift=2), "d": around(1.1, shift=3)}
    first = ranked(numbers)
    for names in itertools.permutations(numbers):
        renamed = dict(zip(names, "abcd", strict=True))
        standings, note = ranked({renamed[name]: numbers[name] for name in names})
        assert {name: standings[renamed[name]] for name in names} == first[0] and note == first[1]


def test_of_two_firsts_neither_decides_alone_what_is_bold(ranked):
    """One of them is told apart from the third row, the other varies too much: in either order nothing is bold."""
    steady, noisy = [1.0, 1.25, 0.75, 1.125, 0.875], [-49.0, 51.0, 1.0, 31.0, -29.0]
    for numbers in ({"a": steady, "b": noisy}, {"a": noisy, "b": steady}):
        standings, _ = ranked({**numbers, "c": around(9, shift=3)})
        assert ranks(standings) == {"a": 1.5, "b": 1.5, "c": 3}
        assert not any(standing.best for standing in standings.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(5, 7), st.integers(0, 2**32))
def test_letters_and_bold_follow_from_tests_written_another_way(record_of, k, n, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(k, n)) + rng.choice([0.0, 3.0, 9.0], size=k)[:, None] + rng.normal(size=n)
    table = rows(
        [record_of(f"v{row}", col, {"fid": [Value(float(numbers[row, col]), higher_is_better=False)]})
         for row in range(k) for col in range(n)]
    )  # fmt: skip
    standings = rank_rows(table, [row.scores["fid"][0] for row in table]).standings
    p = {pair: stats.ttest_rel(*numbers[list(pair)]).pvalue for pair in itertools.combinations(range(k), 2)}
    apart, left = set(), len(p)
    for pair in sorted(p, key=p.get):  # Holm, step by step
        if p[pair] > 0.05 / left:
            break
        apart.add(pair)
        left -= 1
    for one, other in p:
        assert bool(set(standings[one].letters) & set(standings[other].letters)) != ((one, other) in apart)
    first = int(numbers.mean(axis=1).argmin())
    outside = {row for row in range(k) if (min(row, first), max(row, first)) in apart}
    for row in range(k):
        clear = outside and all((min(row, other), max(row, other)) in apart for other in outside)
        assert standings[row].best == bool(row not in outside and clear)
    assert [s.rank for s in standings] == stats.rankdata(numbers.mean(axis=1)).tolist()


@pytest.fixture(scope="module")
def record_of():
    from ganbench.results.record import RunRecord, RunSpec
    from ganbench.training.budget import Budget

    def made(variant, seed, values):
        return RunRecord(RunSpec(variant, "digits", "dcgan", Budget(1, "images"), seed, 8, 50), "done", values=values)

    return made


def test_infinite_failures_are_told_apart_when_seeds_suffice(ranked):
    standings, note = ranked({"fine": around(1, n=8), "failing": ["diverged"] * 8})
    assert (standings["fine"].letters, standings["failing"].letters) == ("a", "b") and standings["fine"].best
    assert "(1 by signed ranks)" in note


def test_very_many_runs_are_ranked_without_a_matrix_of_pairs(record):
    """Which would take 800 MB for each number that a pair has."""
    table = rows([record(f"v{n}", 0, {"fid": [Value(1.0 * n, higher_is_better=False)]}) for n in range(10_000)])
    scores = [row.scores["fid"][0] for row in table]
    tracemalloc.start()
    try:
        standings = rank_rows(table, scores).standings
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert sorted(standing.rank for standing in standings) == list(range(1, 10_001))
