import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ganbench import RATIO, SIGN, SLOPE, Optimum, draw_outputs

X = torch.linspace(-7, 9, 3201, dtype=torch.float64)
P, Q = norm(0, 1), norm(2, 1)
BEST = torch.from_numpy(P.logpdf(X.numpy()) - Q.logpdf(X.numpy()))
LOGIT = Optimum("jensen-shannon", lambda v: v)


def test_what_has_an_optimum():
    assert [each.kind for each in (LOGIT, Optimum("total-variation", lambda v: v), Optimum())] == [RATIO, SIGN, SLOPE]


def test_at_the_optimum_the_bound_is_the_divergence_and_nothing_is_off():
    found = LOGIT.judge(X, BEST, 2.0)

    def integrand(x):
        p, q = P.pdf(x), Q.pdf(x)
        return p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))

    assert found.value == pytest.approx(quad(integrand, -8, 10)[0], rel=1e-4)
    assert found.truth == pytest.approx(found.value) and found.off == pytest.approx(0)


def test_what_D_is_off_is_the_root_mean_square_of_the_probability():
    found = LOGIT.judge(X, torch.zeros_like(X), 2.0)  # it says one half everywhere
    square = quad(lambda x: (P.pdf(x) + Q.pdf(x)) / 2 * (0.5 - P.pdf(x) / (P.pdf(x) + Q.pdf(x))) ** 2, -8, 10)[0]
    assert found.off == pytest.approx(math.sqrt(square), rel=1e-4)
    assert found.value == pytest.approx(0, abs=1e-6)


def test_a_wrong_sign_counts_by_the_share_of_its_points():
    late = torch.where(X < 2, 1.0, -1.0).double()  # the sign changes at 1
    share = (P.cdf(2) - P.cdf(1) + Q.cdf(2) - Q.cdf(1)) / 2
    assert Optimum("total-variation", lambda v: v).judge(X, late, 2.0).off == pytest.approx(share, abs=2e-3)


def test_a_critic_is_judged_by_its_largest_slope_and_has_no_optimum_that_is_not_known():
    found = Optimum().judge(X, -0.01 * X, 2.0)
    assert found.value == pytest.approx(2, rel=1e-3) and (found.truth, found.off) == (2.0, None)
    assert Optimum().steepness(X, 2.0) is None
    assert Optimum().judge(X, -X.tanh(), 2.0).value < 1.9


def test_how_steeply_a_critic_falls_is_given_the_difference_of_distributions_on_both_sides():
    seen = {}
    Optimum(fall=lambda gap, between: seen.setdefault("gap", gap) * between).steepness(X, 2.0)
    assert seen["gap"].numpy() == pytest.approx(P.cdf(X.numpy()) - Q.cdf(X.numpy()), abs=1e-12)
    assert seen["gap"][-1] > 0, "in the tail too, where both distributions are 1 in float64"
    assert Optimum(fall=lambda gap, _: 0 * gap + 1).judge(X, -X, 2.0).off == pytest.approx(0, abs=1e-9)


def test_outputs_are_drawn_beside_what_is_best_by_kinds():
    optima = {"a": LOGIT, "c": Optimum(fall=lambda gap, between: 1 + 0 * gap), "w": Optimum()}
    outputs = {"s": X.sin(), "a": BEST, "c": -X, "w": -3 * X}
    figure = draw_outputs(outputs, optima, X, 2.0)
    ratio, _, slope, _, others, _ = figure.axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in ratio.get_lines()}
    assert lines["a"] == pytest.approx(lines["the optimum"])
    assert lines["a"] == pytest.approx(P.pdf(X.numpy()) / (P.pdf(X.numpy()) + Q.pdf(X.numpy())))
    assert all(line.get_ydata()[5] == pytest.approx(1) for line in slope.get_lines()) and len(slope.get_lines()) == 3
    drawn = np.asarray(others.get_lines()[0].get_ydata())
    assert (drawn.mean(), drawn.std()) == pytest.approx((0, 1), abs=1e-3)
