"""Compact letter displays: the property that defines one, and displays that are known."""

import itertools

from hypothesis import given, settings, strategies as st

from ganbench.results.letters import LETTERS, display


def near(k, pairs):
    """Return rows as bits, near themselves and where a pair says so."""
    rows = [1 << row for row in range(k)]
    for one, other in pairs:
        rows[one] |= 1 << other
        rows[other] |= 1 << one
    return rows


graphs = st.integers(1, 9).flatmap(
    lambda k: st.tuples(st.just(k), st.sets(st.sampled_from([*itertools.combinations(range(k), 2), (0, 0)])))
)


@settings(max_examples=300, deadline=None)
@given(graphs)
def test_two_rows_share_a_letter_exactly_where_they_are_near(graph):
    rows = near(*graph)
    letters = display(rows)
    for one, other in itertools.combinations(range(len(rows)), 2):
        assert bool(set(letters[one]) & set(letters[other])) == bool(rows[one] >> other & 1)
    assert all(letters)


@settings(max_examples=200, deadline=None)
@given(graphs)
def test_no_letter_can_be_left_out_or_be_given_to_another_row(graph):
    rows = near(*graph)
    letters = display(rows)
    used = sorted(set("".join(letters)))
    groups = {letter: {row for row, of in enumerate(letters) if letter in of} for letter in used}
    assert used == list(LETTERS[: len(used)])
    for letter, group in groups.items():
        others = [other for name, other in groups.items() if name != letter]
        assert any(
            not any({one, two} <= other for other in others)
            for one, two in itertools.combinations_with_replacement(sorted(group), 2)
        ), "its pairs all share another"
        outside = set(range(len(rows))) - group
        assert not any(all(rows[row] >> member & 1 for member in group) for row in outside)


def test_neighbours_that_overlap_have_overlapping_letters():
    rows = near(5, [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 4)])
    assert display(rows) == ["a", "ab", "ab", "bc", "c"]


def test_a_letter_whose_pairs_the_others_cover_is_dropped():
    """Rows 0, 2 and 4 are a clique as well, but each pair of them is in another."""
    rows = near(6, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 4), (2, 5), (3, 4), (4, 5)])
    assert display(rows) == ["ab", "a", "ac", "b", "bc", "c"]


def test_rows_that_are_all_near_share_one_letter_and_rows_that_are_not_have_their_own():
    assert display(near(4, itertools.combinations(range(4), 2))) == ["a"] * 4
    assert display(near(4, [])) == list("abcd")


def test_an_alphabet_that_does_not_suffice_is_told():
    assert display(near(len(LETTERS), []))[-1] == "Z"
    assert display(near(len(LETTERS) + 1, [])) is None
