"""Gradients against a fresh discriminator: by hand on linear networks, of the right generator, and without a trace."""

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics.probe import ganbench_metrics
from torch import nn
from torch.optim import SGD

from ganbench import Curve, DataSpec, Discriminator, Features, ImageSet, Parts, Scene, Update, UserError, Variant
from ganbench.scoring.gradients import NONSATURATING, SATURATING, canonical_curves, log_spaced, own_curve
from ganbench.seeds import derive, seed_device

POINTS = ImageSet(torch.randn(64, 2, generator=torch.Generator().manual_seed(3)) + 4)


class Linear(Variant):
    """G(z) = Wz + b, and a loss of G whose gradient is W itself."""

    name = "linear"

    def build(self, parts):
        self.G, self.D = nn.Linear(3, 2), Discriminator(nn.Identity(), nn.Linear(2, 1))
        self.register_buffer("seen", torch.zeros(()))

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.1), "D": SGD(self.D.parameters(), 0.1)}

    def step(self, batch, clock):
        for _ in range(2):
            yield Update("D", self.D(batch.real).mean())
        self.seen.add_(1)
        yield Update("G", self.G.weight.square().sum() / 2)


class Alone(Linear):
    name = "alone"

    def optimizers(self):
        return {"G": SGD(self.parameters(), 0.1)}


class Scratch(Linear):
    """One whose generator has room for what is no state."""

    name = "scratch"

    def build(self, parts):
        super().build(parts)
        self.G.register_buffer("scratch", torch.zeros(1), persistent=False)


def variant_of(seed, cls=Linear):
    torch.manual_seed(seed)
    return cls(Parts(DataSpec((2,)), 3))


def discriminator():
    torch.manual_seed(9)
    return Discriminator(nn.Identity(), nn.Linear(2, 1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(variant, D, seed, batch, first=None):
    """Gradients of E log(1-σ(D(G(z)))) and -E log σ(D(G(z))) over W and b, in numpy; of the `first` latents alone."""
    W, b = (p.detach().double().numpy() for p in (variant.G.weight, variant.G.bias))
    w, c = (p.detach().double().numpy() for p in (D.head.weight, D.head.bias))
    seed_device(torch.device("cpu"), derive(seed, "probe", "latents"))
    z = torch.randn(batch, 3).double().numpy()[:first]
    logits = (z @ W.T + b) @ w[0] + c
    norms = {}
    for name, slope in ((SATURATING, -sigmoid(logits)), (NONSATURATING, -sigmoid(-logits))):
        over_b = (slope[:, None] * w).mean(0)
        over_w = (slope[:, None, None] * w[0][:, None] * z[:, None, :]).mean(0)
        norms[name] = np.sqrt((over_b**2).sum() + (over_w**2).sum())
    return norms


def test_the_first_norms_are_those_of_paper_and_pencil():
    variant, D = variant_of(0), discriminator()
    curves = canonical_curves(variant.requires_grad_(False).eval(), D, POINTS, batch=16, at=[0, 5], seed=2)
    for name, expected in by_hand(variant, D, 2, 16).items():
        assert curves[name].iterations == [0, 5]
        assert curves[name].norms[0] == pytest.approx(expected, rel=1e-5)
        assert curves[name].norms[1] != curves[name].norms[0]


def test_a_sure_discriminator_leaves_a_true_gradient_and_no_zero():
    variant, D = variant_of(0), discriminator()
    with torch.no_grad():
        D.head.bias.fill_(-60)  # σ(-60) is 9e-27: 1 - σ would be 1 in float32
    curves = canonical_curves(variant, D, POINTS, batch=16, at=[0], seed=2)
    expected = by_hand(variant, D, 2, 16)
    assert 0 < curves[SATURATING].norms[0] < 1e-24
    for name in expected:
        assert curves[name].norms[0] == pytest.approx(expected[name], rel=1e-4)


def test_the_gradient_vanishes_or_stays_as_the_discriminator_learns():
    variant, D = variant_of(0), discriminator()
    with torch.no_grad():
        variant.G.bias.fill_(400)  # far from the data
        D.head.weight.fill_(1e-3)
    curves = canonical_curves(variant, D, POINTS, batch=16, at=[0, 500], seed=0)
    assert curves[SATURATING].decades < -1 < curves[NONSATURATING].decades


@pytest.mark.parametrize("latents", [1, 5, 40])
def test_the_loss_is_of_as_many_latents_as_are_asked_for(latents):
    variant, D = variant_of(0), discriminator()
    curves = canonical_curves(variant, D, POINTS, batch=16, at=[0, 3], seed=2, latents=latents)
    usual = canonical_curves(variant, D, POINTS, batch=16, at=[0, 3], seed=2)
    for name, expected in by_hand(variant, D, 2, max(16, latents), latents).items():
        assert curves[name].norms[0] == pytest.approx(expected, rel=1e-5)
        assert curves[name].norms[0] != pytest.approx(usual[name].norms[0], rel=1e-3)


def test_running_statistics_are_those_that_d_has_seen():
    """A D of batch norm alone before its head: with running statistics of 0 and 1 it is that head."""
    variant, head = variant_of(0), discriminator()
    D = Discriminator(nn.BatchNorm1d(2, eps=1e-12), head.head)
    for running in (True, False):
        curves = canonical_curves(variant, D, POINTS, batch=16, at=[0, 4], seed=2, running=running)
        expected = pytest.approx(float(by_hand(variant, head, 2, 16)[SATURATING]), rel=1e-5)
        same = curves[SATURATING].norms[0] == expected
        assert same is running
    assert D.training and D.trunk.num_batches_tracked == 0


@pytest.mark.parametrize("probe", ["canonical", "own"])
def test_nothing_that_is_given_is_changed(probe):
    variant, fresh, D = variant_of(0), variant_of(1), discriminator()
    before = [{k: v.clone() for k, v in module.state_dict().items()} for module in (variant, fresh, D)]
    if probe == "own":
        own_curve(variant, fresh, POINTS, batch=16, at=[0, 4], seed=0)
    else:
        canonical_curves(variant, D, POINTS, batch=16, at=[0, 4], seed=0)
    for module, state in zip((variant, fresh, D), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in variant.parameters())


@pytest.mark.parametrize("cls", [Linear, Scratch])
def test_the_own_loss_is_that_of_the_trained_generator_which_stands_still(cls):
    variant, fresh = variant_of(0, cls), variant_of(1, cls)
    curve = own_curve(variant, fresh, POINTS, batch=16, at=[0, 3, 8], seed=0)
    assert curve.iterations == [2, 4, 8], "updates of D made when G's turn came"
    weight = float(variant.G.weight.detach().norm())
    assert curve.norms == pytest.approx([weight] * 3)
    assert weight != pytest.approx(float(fresh.G.weight.detach().norm()))


def test_a_variant_without_discriminator_has_no_own_curve():
    with pytest.raises(UserError, match="alone has no player D"):
        own_curve(variant_of(0, Alone), variant_of(1, Alone), POINTS, batch=16, at=[1], seed=0)


def test_looks_are_spaced_on_a_log_axis():
    assert log_spaced(1) == [0, 1]
    found = log_spaced(4000)
    assert found[0] == 0 and found[-1] == 4000 and found == sorted(set(found)) and 60 < len(found) <= 100
    assert found[:4] == [0, 1, 2, 3]


def test_decades_are_powers_of_ten():
    assert Curve([0, 5], [3.0, 0.003]).decades == pytest.approx(-3)
    assert np.isnan(Curve([0, 5], [3.0, 0.0]).decades)


def measured(curves):
    none = Features(torch.zeros(0, 2))
    (metric,) = ganbench_metrics()
    return metric.compute(Scene(DataSpec((2,)), none, none, {}, probe=curves and (lambda iterations: curves)))


def test_the_metric_is_the_decades_of_each_loss():
    curves = {name: Curve([0, 100], [2.0, 2.0 * 10**k]) for name, k in ((SATURATING, -4), ("-log D", 1), ("own", 0.5))}
    values = {name: value.value for name, value in measured(curves).items()}
    assert values == pytest.approx({"grad-probe": -4, "grad-probe-ns": 1, "grad-probe-own": 0.5})


@pytest.mark.parametrize(
    ("curves", "told"),
    [(None, "no generator here"), ({SATURATING: Curve([0, 100], [1.0, 0.0])}, "goes from 1 to 0")],
)
def test_what_cannot_be_measured_is_said(curves, told):
    with pytest.raises(UserError, match=told):
        measured(curves)
