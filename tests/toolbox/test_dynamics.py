"""How variants move on the Dirac-GAN: verdicts of paths that are made up, and what rows and pictures show of them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ganbench import GRADIENT_DESCENT, OWN_OPTIMIZERS, Dynamics, damped_radius, draw_eigenvalues, draw_paths


@pytest.mark.parametrize(
    ("path", "radius", "expected"),
    [
        (0.9 ** np.arange(40), 0.9, "converges"),
        (0.1 ** np.arange(40), 0.1, "converges"),
        (1 + 0 * np.arange(40) + 0.01 * (-1.0) ** np.arange(40), 1.0, "cycles"),
        (1.1 ** np.arange(40), 1.1, "diverges"),
        (1 + 0.5 ** np.arange(40), 1.0, "rests"),
        (1 + 0.01 * (-1.0) ** np.arange(40), 0.9, "undecided"),
        (0.9 ** np.arange(40), math.nan, "undecided"),
        (1.1 ** np.arange(40), math.nan, "diverges"),
    ],
)
def test_a_verdict_needs_both_the_eigenvalues_and_the_path(path, radius, expected):
    values = np.array([]) if math.isnan(radius) else np.array([radius, -0.5])
    paths = {
        (GRADIENT_DESCENT, 0): (np.stack([path, 0 * path], 1), ""),
        (OWN_OPTIMIZERS, 0): (np.stack([path, 0 * path], 1), "the loss is nan"),
    }
    found = Dynamics("any", (), 1, "", paths, np.zeros(2), values, 0.0, 1e-5)
    assert found.verdict((GRADIENT_DESCENT, 0)) == expected
    assert found.verdict((OWN_OPTIMIZERS, 0)) == "diverges"
    assert found.verdicts(OWN_OPTIMIZERS) == "diverges (1 of 1 not finite)"


def spiral(name, radius, turn=0.3, n=400):
    """Return what moves as z ← λz does, with |λ| = `radius`, from 1 + i."""
    factor = radius * np.exp(1j * turn)
    path = (1 + 1j) * factor ** np.arange(n + 1)
    places = np.stack([path.real, path.imag], 1)
    paths = {(optimizers, seed): (places, "") for optimizers in (GRADIENT_DESCENT, OWN_OPTIMIZERS) for seed in (0, 1)}
    values = np.array([factor, factor.conjugate()])
    return Dynamics(name, ("a=1",), 1, "1 D, 1 G, in turns", paths, np.zeros(2), values, 0.0, 1e-6)


def test_a_spiral_shrinks_by_its_eigenvalue_a_step():
    found = spiral("any", 0.99)
    assert found.radius == pytest.approx(0.99) and found.name == "any a=1"
    for key in found.of(GRADIENT_DESCENT):
        assert found.factor(key) == pytest.approx(0.99, abs=1e-4)
        assert found.left(key) == pytest.approx(0.99**301, rel=1e-6)  # quarters of 401 places begin at 0, 101, 201, 301
        assert found.verdict(key) == "converges"


def test_seeds_that_differ_are_counted():
    found = spiral("any", 0.99)
    paths = {**found.paths, (GRADIENT_DESCENT, 1): (np.ones((4, 2)), "the loss is nan")}
    mixed = replace(found, paths=paths)
    assert mixed.verdicts(GRADIENT_DESCENT) == "converges 1, diverges 1 (1 of 2 not finite)"
    assert mixed.verdicts(OWN_OPTIMIZERS) == "converges"


def test_rows_hold_eigenvalues_verdicts_and_some_hundred_places():
    rows = list(spiral("any", 0.99).rows())
    assert len({tuple(sorted(row)) for row in rows if row["kind"] != "place"}) == 1
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("eigenvalue"), kinds.count("verdict")) == (2, 4)
    places = [
        row for row in rows if row["kind"] == "place" and (row["optimizers"], row["seed"]) == ("gradient descent", 1)
    ]
    assert len(places) == 101 and places[1]["step"] == 4
    assert complex(places[1]["theta"], places[1]["psi"]) == pytest.approx((1 + 1j) * (0.99 * np.exp(0.3j)) ** 4)


@pytest.mark.parametrize(("h", "damping"), [(0.1, 0.0), (0.1, 0.3), (0.5, 4.0)])
def test_the_damped_radius_is_that_of_the_characteristic_polynomial(h, damping):
    roots = np.roots([1, -(2 - h * damping - h**2 / 4), 1 - h * damping])
    assert damped_radius(h, damping) == pytest.approx(abs(roots).max(), abs=1e-9)


def test_pictures_have_a_panel_for_each_and_tell_who_lies_outside():
    found = [spiral("one", 0.99), spiral("two", 0.99), *(spiral(f"no {n}", 1.5, n=4) for n in range(3))]
    figure, caption = draw_paths(found, 1, 1.0)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title().split("\n")[::2] for axes in shown][:3] == [
        ["one", "converges"], ["two", "converges"], ["no 0", "diverges"]
    ]  # fmt: skip
    assert len(shown) == 5 and "cross" in caption
    assert [bool(axes.get_xlabel()) for axes in shown] == [False, True, True, True, True]
    figure, caption = draw_eigenvalues(found, 0.1)
    (legend,) = figure.legends
    assert [text.get_text().replace("\n", " ") for text in legend.get_texts()] == [
        "one a=1, two a=1", "no 0 a=1, no 1 a=1, no 2 a=1"
    ]  # fmt: skip
    assert caption.endswith("Outside the picture: no 0 a=1, no 1 a=1, no 2 a=1.")
