"""f-GAN: bounds that are tight at the density ratio, conjugates, both losses of G, limits, options."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.fgan import DIVERGENCES, FGAN, Config
from ganbench_plugins.variants.gan import GAN, Config as PlainConfig

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve

P = np.array([0.5, 0.3, 0.15, 0.05])
Q = np.array([0.1, 0.2, 0.3, 0.4])
MIDDLE = (P + Q) / 2


def js(a, b):
    return 0.5 * (a * np.log(a / MIDDLE)).sum() + 0.5 * (b * np.log(b / MIDDLE)).sum()


# Closed forms of D_f(P‖Q) = Σ q f(p/q), and f itself, as in table 1 of the paper.
TRUTH = {
    "kl": (P * np.log(P / Q)).sum(),
    "reverse-kl": (Q * np.log(Q / P)).sum(),
    "pearson": ((P - Q) ** 2 / Q).sum(),
    "hellinger": ((np.sqrt(P) - np.sqrt(Q)) ** 2).sum(),
    "jensen-shannon": 2 * js(P, Q),
    "total-variation": 0.5 * np.abs(P - Q).sum(),
    "gan": 2 * js(P, Q) - np.log(4),
}
F = {
    "kl": lambda u: u * np.log(u),
    "reverse-kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jensen-shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "total-variation": lambda u: 0.5 * np.abs(u - 1),
    "gan": lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
}


def bound(name, v):
    g, conjugate = DIVERGENCES[name]
    return (torch.from_numpy(P) * g(v)).sum() - (torch.from_numpy(Q) * conjugate(v)).sum()


def test_every_divergence_has_a_truth():
    assert TRUTH.keys() == F.keys() == DIVERGENCES.keys()


@pytest.mark.parametrize("name", TRUTH)
def test_the_best_bound_is_the_divergence(name):
    v = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([v], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        loss = -bound(name, v)
        loss.backward()
        return loss

    optimizer.step(closure)
    if name == "total-variation":  # the best v is infinite
        assert bound(name, v).item() <= TRUTH[name] + 1e-9
        best = bound(name, torch.from_numpy(20.0 * np.sign(P - Q)))
        assert best.item() == pytest.approx(TRUTH[name], rel=1e-6)
    else:
        assert bound(name, v).item() == pytest.approx(TRUTH[name], rel=1e-6)
    assert bound(name, torch.tensor([0.3, -0.2, 0.1, 0.4], dtype=torch.float64)).item() < TRUTH[name]


@pytest.mark.parametrize("name", TRUTH)
def test_the_conjugate_is_the_conjugate(name):
    """f*(t) = sup_u (ut - f(u)), on a fine grid of u."""
    v = torch.linspace(-1.5, 0.5, 9, dtype=torch.float64)
    g, conjugate = DIVERGENCES[name]
    u = np.exp(np.linspace(-12, 12, 400_001))
    for t, found in zip(g(v).numpy(), conjugate(v).numpy(), strict=True):
        assert found == pytest.approx(np.max(u * t - F[name](u)), abs=2e-3)


@pytest.mark.parametrize("generator", ["practical", "saddle"])
@pytest.mark.parametrize("name", TRUTH)
def test_losses_are_means_of_the_two(parts, real, perform, affine, name, generator):
    variant = FGAN(parts, Config(divergence=name, generator=generator, lr=0.1))
    optimizers, (g, conjugate) = variant.optimizers(), DIVERGENCES[name]
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def on(x):
        return torch.from_numpy(affine(variant.D.head, x))

    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    expected = g(on(real)).mean() - conjugate(on(affine(variant.G, z_d))).mean()
    assert update.loss.item() == pytest.approx(-expected.item(), rel=1e-4, abs=1e-6)
    perform(update, optimizers["D"])
    v = on(affine(variant.G, z_g))
    expected = -(g(v) if generator == "practical" else conjugate(v)).mean()
    assert next(step).loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", TRUTH)
def test_losses_stay_finite_where_d_is_sure(parts, real, name):
    variant = FGAN(parts, Config(divergence=name))
    with torch.no_grad():
        variant.D.head.weight.mul_(1e4)
    for update in variant.step(Batch(real), Clock(0, torch.zeros(()))):
        assert update.loss.isfinite()


def test_schedule_and_options(parts, real, play):
    assert [u.player for u in play(FGAN(parts, Config()), real, 20)] == ["D", "G"] * 20
    for optimizer in FGAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    with pytest.raises(UserError, match="divergence"):
        resolve(FGAN, "fgan", {"divergence": "chi"})


@pytest.mark.parametrize("name", TRUTH)
def test_a_sure_d_keeps_its_slope_but_where_an_exponential_would_overflow(name, parts, real):
    """At v = -12 for real samples the default, which is the original GAN's, has a slope of nearly one."""
    variant = FGAN(parts, Config(divergence=name))
    with torch.no_grad():
        variant.D.head.weight.zero_()
        variant.D.head.bias.fill_(-12)
    update = next(variant.step(Batch(real), Clock(0, torch.zeros(()))))
    (slope,) = torch.autograd.grad(update.loss, variant.D.head.bias)
    v = -12.0
    expected = {
        "pearson": -1 + v / 2 + 1,
        "jensen-shannon": -1 / (1 + np.exp(v)) + 1 / (1 + np.exp(-v)),
        "gan": -1 / (1 + np.exp(v)) + 1 / (1 + np.exp(-v)),
        "total-variation": 0,  # its two sides are alike
    }
    assert slope.item() == pytest.approx(expected.get(name, 0), rel=1e-5, abs=1e-9)


def test_by_default_it_is_the_plain_gan(parts, real, play):
    def weights(cls, config):
        torch.manual_seed(0)
        variant = cls(type(parts)(), config)
        with torch.no_grad():
            variant.D.head.bias.fill_(-12)
        list(play(variant, real, 20))
        return torch.cat([p.detach().flatten() for p in variant.parameters()])

    assert torch.equal(weights(FGAN, Config()), weights(GAN, PlainConfig()))
    assert "gan" in FGAN.summary.split()
