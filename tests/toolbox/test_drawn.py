"""Parts of pictures: what is drawn where, as far as numbers and texts of a figure tell it."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from ganbench import COLOURS, describe_axes, draw_band, few, heat_map, legend_below, list_beside, panels, strokes


def test_strokes_are_all_different_up_to_three_times_the_colours_and_then_begin_anew():
    looks = strokes(22)
    assert [look["color"] for look in looks[:7]] == list(COLOURS)
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 21
    assert looks[21] == looks[0]
    assert strokes(0) == []


@pytest.mark.parametrize(("n", "across", "down"), [(1, 3, 1), (3, 3, 1), (4, 3, 2), (7, 3, 3), (2, 5, 1)])
def test_panels_are_as_many_as_asked_for_and_other_places_stay_empty(n, across, down):
    figure, places = panels(n, across, height=2, more=1, sharex=True)
    assert len(places) == n
    assert figure.get_size_inches()[1] == pytest.approx(2 * down + 1)
    assert [axes.axison for axes in figure.axes] == [True] * n + [False] * (len(figure.axes) - n)


def test_a_band_has_the_half_width_of_each_mean_and_none_where_there_is_none():
    _, (axes,) = panels(1, 1)
    draw_band(axes, [0, 1, 2], [(1.0, 0.5), (2.0, None), (math.nan, None)], "gan", **strokes(1)[0])
    (line,), (band,) = axes.get_lines(), axes.collections
    np.testing.assert_array_equal(line.get_ydata(), [1, 2, math.nan])
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(0, 0.5), (0, 1.5), (1, 2.0)} <= corners
    assert line.get_color() == COLOURS[0]


def test_a_heat_map_leaves_what_is_not_finite_without_colour_and_writes_every_text():
    axes = Figure().add_subplot()
    values = [[0.0, math.nan], [1.0, -1.0]]
    image = heat_map(axes, values, ["a$x", "b"], ["c", "d"], (-1, 1), [["0", "NaN"], ["1", ""]], [[True] * 2] * 2)
    assert image.get_array().mask.tolist() == [[False, True], [False, False]]
    assert image.get_clim() == (-1, 1)
    written = {text.get_text(): text for text in axes.texts}
    assert set(written) == {"0", "NaN", "1"}
    assert (written["1"].get_color(), written["0"].get_color()) == ("white", "black")
    assert written["0"].get_weight() == "bold"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a$x", "b"]


def test_a_legend_below_names_each_line_once_and_one_beside_folds_long_names():
    figure, places = panels(3, 3)
    for axes in places[:2]:
        describe_axes(axes, "a_$title$", "x", "y")
        axes.plot([0, 1], [0, 1], label="a long name of a line")
    legend_below(figure, places)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a long name of a line"]
    list_beside(places[2], places[0], 10)
    assert [text.get_text() for text in places[2].get_legend().get_texts()] == ["a long\nname of a\nline"]
    assert not places[2].axison


def test_a_legend_of_long_names_has_fewer_columns_and_stays_within_the_figure():
    figure, places = panels(1, 1)
    for number in range(6):
        places[0].plot([0, 1], label=f"a name that is as long as a row of a table with options can be {number}")
    legend_below(figure, places, columns=3)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 6
    assert legend._ncols < 3 and box.width <= figure.bbox.width


def test_without_lines_there_is_no_legend():
    figure, places = panels(1, 1)
    legend_below(figure, places)
    assert figure.legends == []


def test_a_few_values_are_first_and_last_and_even_between():
    assert few([3, 1, 2, 1]) == [1, 2, 3]
    assert few(range(15), 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert few(range(100), 3)[0] == 0 and few(range(100), 3)[-1] == 99 and len(few(range(100), 3)) == 3
    assert few([]) == []
