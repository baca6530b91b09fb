"""Tests of pairs of rows: against scipy, against counting, and against tables where there is nothing to be found."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from ganbench.results.paired import compare, fewest_seeds, holm, mean_ranks, signed_rank


@pytest.mark.parametrize("n", [2, 5, 17])
def test_pairs_have_the_p_values_of_scipys_paired_t_test(n):
    rows = np.random.default_rng(n).normal(size=(4, n)) + np.arange(4)[:, None]
    pairs = compare(rows, 2)
    for one, other in itertools.permutations(range(4), 2):
        assert pairs.p[one, other] == pytest.approx(stats.ttest_rel(rows[one], rows[other]).pvalue, rel=1e-9)
    assert pairs.by_ranks == 0 and np.isnan(np.diag(pairs.p)).all()


def test_only_seeds_that_both_rows_have_count():
    rows = np.random.default_rng(0).normal(size=(3, 8))
    rows[0, :2] = rows[1, 2] = np.nan
    rows[2, 3:] = np.nan
    pairs = compare(rows, 4)
    assert pairs.shared[0].tolist() == [0, 5, 1] and pairs.shared[1, 2] == 2
    assert pairs.p[0, 1] == pytest.approx(stats.ttest_rel(rows[0, 3:], rows[1, 3:]).pvalue, rel=1e-9)
    assert np.isnan(pairs.p[0, 2]) and np.isnan(pairs.p[1, 2])


def test_failures_are_tested_by_ranks_and_are_alike():
    fine, failing = np.arange(6.0), np.array([7.0, 9.0, 11.0, math.inf, math.inf, math.inf])
    pairs = compare(np.array([fine, failing, failing]), 5)
    finite = stats.wilcoxon(np.array([-7.0, -8.0, -9.0, -100.0, -100.0, -100.0]), method="exact")
    assert pairs.p[0, 1] == pytest.approx(finite.pvalue) == 2 / 2**6
    assert pairs.p[1, 2] == 1, "two rows that fail on the same seeds do not differ"
    assert pairs.by_ranks == 2


@pytest.mark.parametrize("gap", [2.0, 0.1 + 0.2, 1e-7])
def test_a_difference_without_spread_is_not_certain(gap):
    one = np.array([1.0, 5.0, 2.0, 8.0, 4.0])
    pairs = compare(np.array([one, one + gap]), 5)
    assert pairs.p[0, 1] == 2 / 2**5


def test_rows_that_are_the_same_are_not_told_apart():
    assert compare(np.ones((2, 5)), 5).p[0, 1] == 1


@pytest.mark.parametrize("n", [1, 5, 9])
def test_signed_ranks_have_the_p_value_of_scipy(n):
    differences = np.random.default_rng(n).normal(0.5, size=n)
    assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_signed_ranks_are_exact_where_ranks_are_tied(numbers):
    """Every way to give signs to the ranks is as likely: counted one by one."""
    ranks = stats.rankdata([abs(number) for number in numbers if number])
    signs = [np.sign(number) for number in numbers if number]
    centre = ranks.sum() / 2
    found = abs(sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign > 0) - centre)
    ways = [abs(sum(some) - centre) for some in itertools.product(*[(0, rank) for rank in ranks])]
    expected = sum(way >= found - 1e-9 for way in ways) / len(ways)
    assert signed_rank(np.array(numbers, float)) == pytest.approx(expected)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, math.inf]), min_size=1))
def test_ties_share_the_mean_of_their_ranks(numbers):
    assert mean_ranks(numbers).tolist() == stats.rankdata(numbers).tolist()


def test_corrected_p_values_are_those_of_a_worked_example():
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holms_correction_is_the_closed_test_of_bonferronis(p):
    """A hypothesis falls where every set of hypotheses that holds it has a p-value below the level over its size."""
    for place, found in enumerate(holm(np.array(p))):
        sets = [s for n in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), n) if place in s]
        expected = max(min(1.0, len(some) * min(p[each] for each in some)) for some in sets)
        assert found == pytest.approx(expected)


def test_the_more_rows_the_more_seeds_a_test_takes():
    assert [fewest_seeds(k) for k in (2, 10, 11, 40)] == [5, 5, 8, 8]


@pytest.mark.parametrize(("k", "n"), [(5, 3), (40, 5)])
def test_with_fewer_seeds_rows_that_collapse_at_random_would_be_told_apart(k, n):
    assert n < fewest_seeds(k)
    rng, wrong, tables = np.random.default_rng(k), 0, 300 if k < 40 else 100
    for _ in range(tables):
        rows = rng.normal(size=(k, n)) + 10 * (rng.random((k, n)) < 0.5)
        wrong += bool((holm(compare(rows, n).p[np.triu_indices(k, 1)]) <= 0.05).any())
    assert wrong / tables > 0.08


@pytest.mark.parametrize("scores", ["normal", "log-normal", "collapsing"])
@pytest.mark.parametrize(("k", "n"), [(2, 5), (5, 5), (40, 8)])
def test_rows_that_are_alike_are_seldom_told_apart(scores, k, n):
    """The share of tables with any wrong finding: at most 5 %, which 400 of them show to within 3.5 %."""
    assert n >= fewest_seeds(k)
    rng, wrong, tables = np.random.default_rng(k), 0, 400 if k < 40 else 150
    for _ in range(tables):
        rows = rng.normal(size=(k, n)) + rng.normal(size=n)
        if scores == "log-normal":
            rows = np.exp(rows)
        elif scores == "collapsing":
            rows += 10 * (rng.random((k, n)) < 0.5)
        wrong += bool((holm(compare(rows, n).p[np.triu_indices(k, 1)]) <= 0.05).any())
    assert wrong / tables < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)
