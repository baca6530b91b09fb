"""Numbers of curves against those by hand; that runs are probed and remembered, the experiment's tests tell."""

import math

import numpy as np
import pytest
from scipy import stats

from ganbench import Curve, after_epochs, draw_probed, from_top, mean_decades, mean_norm, scatter, scatter_grows


def test_means_of_curves_are_geometric_for_norms_and_arithmetic_for_decades():
    curves = [Curve([0, 5, 10], [2.0, 1.0, 0.02]), Curve([0, 5, 10], [8.0, 1.0, 0.8])]
    assert mean_norm(curves, 0) == pytest.approx(stats.gmean([2, 8]))
    assert mean_norm(curves, 9) == pytest.approx(1) and mean_norm(curves, np.inf) == pytest.approx(np.sqrt(0.016))
    assert mean_decades(curves) == pytest.approx(-1.5)
    assert mean_norm([Curve([0], [0.0]), curves[0]], 0) == 0
    assert math.isnan(mean_norm([Curve([0], [math.nan])], 0))


def test_from_the_top_is_from_the_highest_look():
    assert from_top(Curve([0, 1, 2], [1.0, 100.0, 0.1])) == pytest.approx(-3)
    assert from_top(Curve([0, 1], [1.0, 0.0])) == -math.inf
    assert math.isnan(from_top(Curve([0, 1], [0.0, 0.0])))


def test_scatter_is_the_deviation_of_noise_and_not_of_a_trend():
    drawn = np.random.default_rng(0).normal(size=20_000)
    noise = np.concatenate([drawn[:10_000], 3 * drawn[10_000:]])
    curve = Curve(range(20_000), (5.0 * np.arange(20_000) + noise).tolist())
    assert scatter(curve, 0) == pytest.approx(1, rel=0.03) and scatter(curve, 1) == pytest.approx(3, rel=0.03)
    assert scatter_grows(curve) == pytest.approx(3, rel=0.05)
    assert scatter_grows(Curve(range(8), [1.0, 1, 1, 1, 1, 9, 1, 9])) == math.inf
    assert math.isnan(scatter(Curve([0, 1], [1.0, 2.0]), 0))


def test_epochs_in_words():
    assert [after_epochs(epochs) for epochs in (1.0, 0.5, 25.0)] == [
        "after 1 epoch",
        "after 0.5 epochs",
        "after 25 epochs",
    ]


def test_a_picture_has_a_panel_a_loss_and_names_what_has_a_colour():
    curve = Curve([0, 1, 10], [1.0, 0.1, 0.01])
    curves = {(name, epochs, loss): [curve] for name in "ab" for epochs in (1.0, 2.0) for loss in ("x", "y")}
    figure = draw_probed(curves, by=1)
    assert [axes.get_title() for axes in figure.axes] == ["a\nx", "a\ny", "b\nx", "b\ny"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["after 1 epoch", "after 2 epochs"]
    assert [bool(axes.get_ylabel()) for axes in figure.axes] == [True, False, True, False]
    figure = draw_probed({key: found for key, found in curves.items() if key[1] == 1}, by=0)
    assert [axes.get_title() for axes in figure.axes] == ["loss of G: x", "loss of G: y"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
