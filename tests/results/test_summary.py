"""Mean ranks over tables: a worked example that was published, scipy, and what is left out or cannot be tested."""

import numpy as np
import pytest
from scipy import stats

from ganbench.results.summary import critical_difference, summarise

# Demšar 2006, JMLR 7, table 6: areas under the ROC curve of four settings of C4.5 on 14 data sets. In
# the last row but one it prints 0.975 twice, but its mean ranks are those of two numbers that differ.
METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AREAS = (
    (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.97501, 0.975), (0.957, 0.978, 0.946, 0.970),
)  # fmt: skip


def example():
    return {
        f"data {number}": {name: -area for name, area in zip(METHODS, row, strict=True)}
        for number, row in enumerate(AREAS)
    }


def test_a_published_example_comes_out_as_published():
    """Its section 3.2.2 has these mean ranks, 9.28 for Friedman's statistic without ties, 1.25 for Nemenyi's test."""
    summary = summarise(example())
    assert {name: round(rank, 3) for name, rank in summary.ranks.items()} == {
        "C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143
    }  # fmt: skip
    assert list(summary.ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    n, k, means = 14, 4, np.array(list(summary.ranks.values()))
    assert 12 * n / (k * (k + 1)) * ((means**2).sum() - k * (k + 1) ** 2 / 4) == pytest.approx(9.28, abs=0.005)
    assert summary.critical_difference == pytest.approx(1.25, abs=0.005)
    assert summary.cliques == [list(summary.ranks)], "it finds no pair to differ at 5 %"


def test_the_statistic_is_scipys_which_accounts_for_ties():
    summary = summarise(example())
    wanted = stats.friedmanchisquare(*np.array(AREAS).T)
    assert (summary.statistic, summary.p) == pytest.approx((wanted.statistic, wanted.pvalue))


# Demšar 2006, table 5a: critical values of Nemenyi's test at 5 %.
@pytest.mark.parametrize(
    ("k", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_differences_are_those_of_the_printed_table(k, q):
    assert critical_difference(k, 20) == pytest.approx(q * (k * (k + 1) / 120) ** 0.5, abs=5e-4)


def in_order(n, k):
    return {f"table {number}": {f"v{row}": float(row) for row in range(k)} for number in range(n)}


def test_cliques_are_the_largest_groups_nearer_than_the_critical_difference():
    summary = summarise(in_order(12, 6))  # mean ranks 1 to 6, 2.18 apart at least
    assert 2 < summary.critical_difference < 3 and summary.p < 1e-6
    assert summary.cliques == [["v0", "v1", "v2"], ["v1", "v2", "v3"], ["v2", "v3", "v4"], ["v3", "v4", "v5"]]


def test_rows_apart_from_all_others_are_in_no_clique():
    summary = summarise(in_order(100, 3))
    assert summary.critical_difference < 1 and summary.cliques == []


def test_rows_are_ranked_anew_among_those_that_stand_in_every_table():
    tables = in_order(3, 5)
    tables["table 1"]["v0"] = None
    del tables["table 2"]["v2"]
    summary = summarise(tables)
    assert summary.ranks == {"v1": 1, "v3": 2, "v4": 3}
    assert summary.left_out == {"v0": ["table 1"], "v2": ["table 2"]}


def test_where_nothing_differs_all_are_one_group_and_it_is_said():
    rng = np.random.default_rng(0)
    summary = summarise({f"t{n}": dict(zip("abcde", rng.normal(size=5).tolist(), strict=True)) for n in range(6)})
    assert summary.p > 0.05 and [sorted(clique) for clique in summary.cliques] == [list("abcde")]
    assert "no difference is shown" in summary.note and "6 tables are few" in summary.note


def test_what_friedman_does_not_find_is_not_looked_for_in_pairs():
    """Mean ranks of 1.4 and 3.6 are further apart than the critical difference, but p is 5.03 %."""
    ranks = [(2, 1, 3, 4), (1, 4, 2, 3), (1, 2, 3, 4), (2, 4, 1, 3), (1, 3, 2, 4)]
    summary = summarise({f"t{n}": dict(zip("abcd", map(float, row), strict=True)) for n, row in enumerate(ranks)})
    assert summary.p > 0.05 and summary.ranks["d"] - summary.ranks["a"] > summary.critical_difference
    assert [sorted(clique) for clique in summary.cliques] == [list("abcd")]


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (in_order(1, 4), "a test takes 2 tables and 3 rows, these are 1 and 4"),
        (in_order(4, 2), "a test takes 2 tables and 3 rows, these are 4 and 2"),
        ({f"t{n}": dict.fromkeys("abc", 1.0) for n in range(3)}, "no test: all rows tie in every table"),
        ({"t": {"a": 1.0}, "u": {"b": 1.0}}, "no row stands in every table"),
        ({}, "no row stands in every table"),
    ],
)
def test_without_a_test_there_is_a_reason(tables, told):
    summary = summarise(tables)
    assert summary.note == told
    assert (summary.statistic, summary.p, summary.critical_difference, summary.cliques) == (None, None, None, ())
