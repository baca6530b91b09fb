"""Lines of what was measured over seeds."""

import pytest

from ganbench import draw_bands, draw_beside, panels


def row(name, seed, at, value, of="w"):
    return {"of": of, "name": name, "seed": seed, "at": at, "value": value, "truth": 2.0 * at}


ROWS = [row("a", 0, 1, 1.0), row("a", 1, 1, 2.0), row("a", 0, 2, 3.0), row("a", 1, 2, None), row("b", 0, 1, 5.0)]


def test_a_line_is_of_means_over_seeds_and_a_band_of_their_intervals():
    _, (axes,) = panels(1, 1)
    draw_bands(axes, ROWS, "at", "value", by="name")
    first, second = axes.get_lines()
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1, 2], [1.5, 3.0])
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([1], [5.0])
    points = axes.collections[0].get_paths()[0].vertices
    assert points[:, 1].max() == pytest.approx(1.5 + 12.706 / 2, abs=1e-3)  # t(1), deviation 0.7071: 12.706 · 0.5


def test_what_is_exact_stands_behind_in_a_panel_for_each_quantity():
    figure = draw_beside([*ROWS, row("c", 0, 50, 1.0, "kl")], "at", "value", ("distance", "bound"))
    w, kl = (axes for axes in figure.axes if axes.axison)
    assert (w.get_title(), kl.get_title()) == ("w", "kl")
    exact = w.get_lines()[0]
    assert exact.get_label() == "exact" and list(exact.get_ydata()) == [2.0, 4.0]
    assert (w.get_yscale(), kl.get_yscale()) == ("linear", "log")
    assert (w.get_xlabel(), w.get_ylabel()) == ("distance", "bound")
