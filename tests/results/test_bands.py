"""Lines of what was measured: means over seeds, in one colour in every panel."""

import numpy as np
import pytest

from ganbench import COLOURS, draw_measured
from ganbench.results.bands import draw_bands

ROWS = [
    {
        "variant": name,
        "seed": seed,
        "share": share,
        "a": share + seed,
        "b": None if name == "x" else 1.0,
        "b_of_real": 2,
    }
    for name in ("x", "y")
    for seed in (0, 1)
    for share in (1.0, 0.5)
]


def test_each_line_is_the_mean_over_seeds_in_order_and_its_band_the_interval():
    figure, (axes,) = draw_measured(ROWS, "share", "share of the budget", {"a": "A"})
    x, y = axes.get_lines()[0].get_xydata().T
    np.testing.assert_allclose([x, y], [[0.5, 1.0], [1.0, 1.5]])
    top = max(axes.collections[0].get_paths()[0].vertices[:, 1])
    assert top == pytest.approx(1.5 + 12.706 * 0.5, abs=1e-3)  # t of one degree, deviation √½ over √2
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("share of the budget", "A")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]


def test_several_values_of_a_seed_count_as_their_mean():
    rows = [{"by": "x", "seed": seed, "t": 0, "v": v} for seed, v in ((0, 1.0), (0, 3.0), (1, 8.0))]
    _, (axes,) = draw_measured([{**row, "variant": "z"} for row in rows], "t", "t", {"v": "V"}, by="by")
    assert axes.get_lines()[0].get_ydata() == [5.0]


def test_who_has_no_value_has_no_line_and_the_others_keep_their_colours():
    _, (one, other) = draw_measured(ROWS, "share", "share", {"a": "A", "b": "B"})
    assert [line.get_color() for line in one.get_lines()] == list(COLOURS[:2])
    line, real = other.get_lines()
    assert line.get_color() == COLOURS[1]
    assert list(real.get_ydata()) == [2, 2] and other.get_ylim() == (0, pytest.approx(2.16))
    draw_bands(one, [], "share", "a")
    assert len(one.get_lines()) == 2
