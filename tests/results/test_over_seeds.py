"""What was measured, over seeds: differences by hand, intervals by scipy, tables and pictures as far as texts tell."""

import math

import pytest
from scipy import stats

from ganbench import differences, dots_over_seeds, heat_map_over_seeds, side_of_zero, table_over_seeds

ROWS = [
    {"row": row, "of": of, "seed": seed, "x": base + step * seed}
    for row, of, base, step in (("a", "G", 1.0, 0.1), ("a", "data", 3.0, 0.0), ("b", "G", 5.0, 0.0))
    for seed in (0, 1, 2)
]


def half_width(numbers):
    low, high = stats.t.interval(0.95, len(numbers) - 1, loc=0, scale=stats.sem(numbers))
    return (high - low) / 2


def test_a_side_is_told_where_the_interval_of_scipy_does_not_hold_zero():
    for numbers in ([1.0, 1.2, 0.9], [1.0, 4.0, 0.1], [-1.0, -1.2], [-3.0, -1.0]):
        mean, half = sum(numbers) / len(numbers), half_width(numbers)
        assert side_of_zero(numbers) is (None if abs(mean) <= half else mean > 0)
    assert [side_of_zero(numbers) for numbers in ([], [1.0], [1.0, math.nan], [0.0, 0.0])] == [None] * 4
    assert side_of_zero([1.0, 1.0]) is True


def test_differences_are_of_the_same_seed_and_of_rows_that_have_both():
    found = differences(ROWS, ("x", {"of": "data"}), ("x", {"of": "G"}), by=["row"])
    assert list(found) == ["a"] and found["a"] == pytest.approx([2.0, 1.9, 1.8])
    half = differences(ROWS, ("x", {"of": "G"}), 0.5, by=["row", "of"])
    assert half["a, G"] == pytest.approx([0.5, 0.6, 0.7]) and half["b, G"] == [4.5] * 3
    assert differences(ROWS, ("y", {}), 0.5, by=["row"]) == {}


def test_what_is_the_same_is_compared_with_itself_and_a_seed_counts_with_its_mean():
    one = [{"seed": 0, "k": 3, "of": of, "x": x} for of, x in (("p", 1.0), ("q", 5.0))]
    other = [{"seed": 0, "k": 1, "of": of, "x": x} for of, x in (("p", 0.5), ("r", 100.0))]
    asked = ("x", {"k": 3}), ("x", {"k": 1})
    assert differences(one + other, *asked, by=["row"], same=["of"]) == {"": [0.5]}, "q and r have no other"
    assert differences(one + other, *asked, by=["row"]) == {"": [3.0 - 50.25]}
    assert math.isnan(differences([{"seed": 0, "x": math.nan}], ("x", {}), 1, by=["row"])[""][0])


def test_a_table_has_a_line_for_rows_that_agree_in_what_they_are_about():
    table = table_over_seeds(
        "T", [*ROWS, {"row": "c", "seed": 0, "y": 1.0}], {"run": "row", "images": "of"}, ["x"], "n"
    )
    assert (table.title, list(table.columns), table.note) == ("T", ["run", "images", "x"], "n")
    assert table.rows == [
        ["a", "G", f"1.10 ± {half_width([1.0, 1.1, 1.2]):.2f}"],
        ["a", "data", "3.00 ± 0.00"],
        ["b", "G", "5.00 ± 0.00"],
        ["c", "-", "-"],
    ]


def test_dots_stand_at_means_with_their_intervals_in_the_row_that_they_are_of():
    series = {"G": ("x", {"of": "G"}, {"color": "red"}), "data": ("x", {"of": "data"}, {})}
    figure = dots_over_seeds([*ROWS, {"seed": 0, "x": 9.0}], ["row"], series, "share", (0, 7))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_xlim()) == ("share", (0, 7))
    of_g, of_data = axes.containers
    assert of_g[0].get_xdata() == pytest.approx([1.1, 5.0]) and of_data[0].get_xdata() == pytest.approx([3.0])
    left, right = of_g[2][0].get_segments()[0][:, 0]
    assert (right - left) / 2 == pytest.approx(half_width([1.0, 1.1, 1.2]))
    assert of_g[0].get_ydata()[0] < of_data[0].get_ydata()[0] < of_g[0].get_ydata()[1], "from the top"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["G", "data"]


def test_a_heat_map_writes_means_and_is_bold_where_the_interval_is_on_one_side():
    cells = [[[0.9, 0.8], [0.9, -0.9]], [[], [0.5, math.nan]]]
    figure = heat_map_over_seeds(cells, ("variant", ["a", "b"]), ("quantity", ["c", "d"]), ("correlation", (-1, 1)))
    axes, bar = figure.axes
    written = [(text.get_text(), text.get_weight()) for text in axes.texts]
    assert written == [("+0.85", "bold"), ("+0.00", "normal"), ("nan", "normal")]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("quantity", "variant", "correlation")
    assert axes.images[0].get_array().mask.tolist() == [[False, False], [True, True]]
