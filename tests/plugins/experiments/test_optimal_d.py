import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.experiments import optimal_d
from scipy.integrate import quad
from scipy.stats import norm

from ganbench.errors import UserError
from ganbench.runs.experiments import Wanted, carry_out

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
X = torch.linspace(-7, 9, 3201, dtype=torch.float64)
P, Q = norm(0, 1), norm(2, 1)


def find(folder, variants, *settings, seeds=(), plugins=()):
    wanted = Wanted("optimal-d", {"variants": variants}, settings, seeds=seeds, plugins=plugins, results=folder)
    return carry_out(wanted, [], {}, lambda step: None)


RATIO = P.logpdf(X.numpy()) - Q.logpdf(X.numpy())
OPTIMA = {
    "gan": RATIO,
    "gan-minimax": RATIO,
    "pacgan": RATIO,
    "fgan": RATIO,
    "lsgan": 1 / (1 + np.exp(-RATIO)),
    "hinge": np.sign(RATIO),
    "fgan divergence=kl": 1 + RATIO,
    "fgan divergence=reverse-kl": RATIO,
    "fgan divergence=pearson": 2 * (np.exp(RATIO) - 1),
    "fgan divergence=hellinger": RATIO / 2,
    "fgan divergence=total-variation": 50 * np.sign(RATIO),
}
DIVERGENCES = {
    "jensen-shannon": lambda p, q: p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q)),
    "least-squares": lambda p, q: (p - q) ** 2 / (p + q),
    "total-variation": lambda p, q: abs(p - q) / 2,
    "kl": lambda p, q: p * math.log(p / q),
    "reverse-kl": lambda p, q: q * math.log(q / p),
    "pearson": lambda p, q: (p - q) ** 2 / q,
    "hellinger": lambda p, q: (math.sqrt(p) - math.sqrt(q)) ** 2,
}


def test_every_row_with_a_known_optimum_is_tested():
    assert set(OPTIMA) == {row for row, best in optimal_d.OPTIMA.items() if best.kind != "slope"}


@pytest.mark.parametrize("row", OPTIMA)
def test_at_the_optimum_the_bound_is_the_divergence_and_nothing_is_off(row):
    found = optimal_d.OPTIMA[row].judge(X, torch.from_numpy(OPTIMA[row]), 2.0)
    integrand = DIVERGENCES[optimal_d.OPTIMA[row].of]
    exact = sum(quad(lambda x: integrand(P.pdf(x), Q.pdf(x)), *ends)[0] for ends in ((-8, 1), (1, 10)))
    assert found.truth == pytest.approx(exact, rel=1e-3)
    assert found.value == pytest.approx(found.truth, rel=1e-3)
    assert found.off == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("row", OPTIMA)
def test_elsewhere_the_bound_is_less_and_D_is_off(row):
    best = torch.from_numpy(OPTIMA[row])
    found = optimal_d.OPTIMA[row].judge(X, best * torch.where(X > 0, 0.3, -1.0), 2.0)
    assert found.value < found.truth and found.off > 0.05


@pytest.mark.parametrize(
    ("row", "penalty"),
    [
        ("wgan-gp", lambda s: 10 * (s - 1) ** 2),
        ("wgan-lp", lambda s: 10 * max(0, s - 1) ** 2),
        ("wgan-div", lambda s: 2 * s**6),
    ],
)
def test_no_other_slope_of_a_critic_is_better(row, penalty):
    at = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
    for x, best in zip(at.tolist(), optimal_d.OPTIMA[row].steepness(at, 2.0).tolist(), strict=True):
        between = quad(lambda e, x=x: norm.pdf(x, 2 * (1 - e), math.hypot(e, 1 - e)), 0, 1)[0]

        def gain(slope, x=x, between=between):
            return slope * (norm.cdf(x) - norm.cdf(x - 2)) - between * penalty(slope)

        assert all(gain(best) > gain(best + off) for off in (-0.05, 0.05))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return find(
        folder, ["gan"], "optimal-d.steps=200", "optimal-d.distances=[2.0]", "optimal-d.batch=128", seeds=(3, 5)
    )


def test_trained_discriminators_come_near_their_optima(trained):
    assert [claim.holds for claim in trained.found.claims] == [True, True]
    rows = [each for each in trained.measured if each["of"] != "D(x)"]
    assert {(each["name"], each["seed"]) for each in rows} == {("gan", 3), ("gan", 5)}
    for each in rows:
        assert 0.8 * each["truth"] < each["value"] < each["truth"]
    assert "±" in trained.found.tables[0].rows[0][2]
    assert {"optimum.png", "bounds.png"} == set(trained.pictures)


def test_strangers_are_drawn_one_seed_has_no_interval_and_who_diverges_is_counted(tmp_path):
    outcome = find(
        tmp_path,
        ["plain", "makes-nan", "labelled"],
        "optimal-d.steps=20",
        "optimal-d.batch=16",
        "optimal-d.distances=[]",
        plugins=[TINY],
    )
    assert [row[0] for row in outcome.found.tables[0].rows] == ["plain"]
    assert "of one seed no interval" in outcome.found.tables[0].note
    assert "diverges" in outcome.found.left_out["makes-nan"] and "labels" in outcome.found.left_out["labelled"]
    assert not outcome.found.claims and set(outcome.pictures) == {"optimum.png"}


def test_where_nobody_judges_points_one_sentence_says_so(tmp_path):
    with pytest.raises(UserError, match=r"nobody has a D that judges points; vae: it has no D"):
        find(tmp_path, ["vae"])


@pytest.mark.parametrize("setting", ["look=13", "distances=[0]", "steps=0", "rate=-1"])
def test_odd_options_are_told(setting, tmp_path):
    with pytest.raises(UserError, match=f"optimal-d.{setting.split('=')[0]}"):
        find(tmp_path, ["gan"], f"optimal-d.{setting}")
