import numpy as np
import pytest

from ganbench import (
    BEHIND,
    COINCIDE,
    F_DIVERGENCES,
    F_PULLS,
    GROWS,
    ODD,
    STAYS,
    VANISHES,
    Pull,
    draw_pulls,
    join_pulls,
    pull_where_rejected,
)

AT = np.linspace(-5, 5, 11)


@pytest.mark.parametrize(
    ("slopes", "kind"),
    [
        (-1 / (1 + np.exp(-AT)), VANISHES),
        (-1 / (1 + np.exp(AT)), STAYS),
        (np.full(11, -1.0), STAYS),
        (AT - 1, GROWS),
        (np.where(AT > 0, np.nan, AT), ODD),
        (np.where(AT > 4, np.inf, -1.0), ODD),
    ],
)
def test_what_becomes_of_a_gradient_where_D_rejects(slopes, kind):
    assert pull_where_rejected(AT, slopes) == kind


def test_curves_that_coincide_are_one_and_others_are_not():
    pulls = [
        Pull(["a-long-name"], AT, AT),
        Pull(["near"], AT * (1 + COINCIDE / 10), AT),
        Pull(["far"], AT * (1 + 100 * COINCIDE), AT),
        Pull(["odd"], np.full(11, np.nan), AT),
        Pull(["odder"], np.full(11, np.nan), AT),
    ]
    assert [pull.rows for pull in join_pulls(pulls)] == [["near", "a-long-name"], ["far"], ["odd", "odder"]]
    assert [len(pull.rows) for pull in pulls] == [1] * 5


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


ACTIVATIONS = {
    "kl": (lambda v: v, lambda t: np.exp(t - 1)),
    "reverse-kl": (lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "hellinger": (lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)),
    "total-variation": (lambda v: np.tanh(v) / 2, lambda t: t),
    "jensen-shannon": (lambda v: np.log(2 * sigmoid(v)), lambda t: -np.log(2 - np.exp(t))),
    "gan": (lambda v: np.log(sigmoid(v)), lambda t: -np.log(1 - np.exp(t))),
}


@pytest.mark.parametrize("name", F_PULLS)
def test_what_pulls_an_f_gan_is_the_slope_of_its_activation_and_of_the_conjugate_of_that(name):
    activation, conjugate = ACTIVATIONS[name]
    for pull, form in zip(F_PULLS[name], (activation, lambda v: conjugate(activation(v))), strict=True):
        slope = (form(AT + 1e-5) - form(AT - 1e-5)) / 2e-5
        assert pull(AT) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_all_that_is_trained_by_its_bound_has_a_pull():
    assert set(F_PULLS) == set(ACTIVATIONS) == set(F_DIVERGENCES) - {"least-squares"}


def test_pulls_are_drawn_by_what_becomes_of_them_with_others_behind():
    pulls = [Pull(["constant"], np.full(11, -1.0), -AT), Pull(["a", "b"], AT - 1, AT**2 / 2 - AT)]
    figure = draw_pulls(pulls, AT, [np.zeros_like])
    stays, losses, _, grows, *_ = figure.axes
    assert (STAYS in stays.get_title(), GROWS in grows.get_title()) == (True, True)
    behind, line = stays.get_lines()
    assert behind.get_linewidth() == BEHIND["linewidth"] and not np.any(behind.get_ydata())
    assert line.get_label() == "constant" and list(losses.get_lines()[0].get_ydata()) == list(-AT)
    assert figure.axes[5].get_legend().get_texts()[0].get_text() == "a, b"
    assert max(map(abs, grows.get_ylim())) <= 3 * AT[-1] / 2
