"""The Dirac-GAN: eigenvalues against those worked out by hand, and what is told of variants that have no part."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import SGD

from ganbench import PSI, THETA, DataSpec, Dirac, DiracMap, Update, UserError, Variant, dirac_data, equilibrium
from ganbench.runs.course import HarnessCourse
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover
from ganbench.training.networks import build_variant

H = 0.1


@pytest.fixture(scope="module")
def registry():
    return discover((), begin=lambda step: None)


def course(cls, *, seed=0, h=H, config=None, **chosen):
    make = partial(build_variant, cls, Dirac(), DataSpec((1,)), seed=seed, config=config)
    if h:
        chosen["optimizers"] = lambda player, weights: SGD(weights, h)
    return HarnessCourse(make, dirac_data(64), seed=seed, batch=8, device=torch.device("cpu"), double=True, **chosen)


@pytest.fixture
def start(registry):
    def started(name, h=H, **settings):
        cls = registry.get("variant", name).item
        times = settings.pop("times", 1.0)
        config = resolve(cls, name, {key: str(value) for key, value in settings.items()})
        return course(cls, h=h, config=config, times=times)

    return started


def roots(trace, determinant):
    """Return the eigenvalues of a 2 × 2 matrix by its trace and its determinant."""
    return np.sort_complex(np.roots([1, -trace, determinant]))


BY_HAND = [
    ("gan", {}, 2 - H**2 / 4, 1),
    ("gan-minimax", {}, 2 - H**2 / 4, 1),
    ("rgan", {}, 2 - H**2 / 4, 1),
    ("gan", {"simultaneous": "true"}, 2, 1 + H**2 / 4),
    ("wgan", {"clip": 1}, 2 - 5 * H**2, 1),
    ("wgan", {"clip": 1, "critic_steps": 1}, 2 - H**2, 1),
    ("wgan-lp", {"critic_steps": 2}, 2 - 2 * H**2, 1),  # below a slope of 1 it is a WGAN
    ("r1", {"penalty": 0.3}, 2 - 0.3 * H - H**2 / 4, 1 - 0.3 * H),
    ("r1", {"penalty": 0.3, "on": "fake"}, 2 - 0.3 * H - H**2 / 4, 1 - 0.3 * H),
    ("r1", {"penalty": 0.3, "on": "both"}, 2 - 0.6 * H - H**2 / 4, 1 - 0.6 * H),
    ("r1", {}, 2 - 10 * H - H**2 / 4, 1 - 10 * H),
    # G looks K steps of η ahead, ψ - Kηθ/2, which damps it; both move at once.
    ("unrolled", {"inner": "sgd", "discriminator_lr": 0.2, "steps": 3}, 2 - 0.3 * H, 1 - 0.3 * H + H**2 / 4),
    # ‖θ - 0‖² pulls G by 2θ, whatever ψ is.
    ("feature-matching", {}, 2 - 2 * H, 1 - 2 * H),
]


@pytest.mark.parametrize(("name", "settings", "trace", "determinant"), BY_HAND)
def test_the_eigenvalues_of_a_period_are_those_by_hand(start, name, settings, trace, determinant):
    found = np.linalg.eigvals(DiracMap(start(name, **settings)).jacobian(np.zeros(2)))
    assert np.sort_complex(found.astype(complex)) == pytest.approx(roots(trace, determinant), abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "expected"), [(0.3, [-0.15 - 0.4769696j, -0.15 + 0.4769696j]), (1.25, [-1.0, -0.25])]
)
def test_the_field_of_r1_has_the_papers_eigenvalues(start, gamma, expected):
    """-γ/2 ± √(γ²/4 - f'(0)²), of the gradients that the variant yields, taken at one point."""
    made, columns = start("r1", penalty=gamma), []
    for theta, psi in ((1e-4, 0.0), (0.0, 1e-4)):
        made.restart({THETA: torch.tensor([theta]), PSI: torch.tensor([[psi]])})
        found = made.gradients()
        columns.append([-found[player][0][0].item() / 1e-4 for player in ("G", "D")])
    assert np.sort_complex(np.linalg.eigvals(np.array(columns).T).astype(complex)) == pytest.approx(expected, abs=1e-6)


def test_a_path_is_that_of_the_update_by_hand(start):
    path, ended = DiracMap(start("gan")).walk(np.array([1.0, 1.0]), 50)
    theta, psi = 1.0, 1.0
    for place in path[1:]:
        psi -= H * theta / (1 + np.exp(-psi * theta))
        theta += H * psi / (1 + np.exp(psi * theta))
        assert place == pytest.approx([theta, psi], abs=1e-12)
    assert not ended and len(path) == 51


def test_what_is_hooked_to_an_optimizer_stays_with_another(start):
    made = DiracMap(start("wgan", clip=0.3))
    path, _ = made.walk(np.ones(2), 500)
    # ψ falls by hθ in each of five updates, the first of which is clipped to 0.3; then θ rises by hψ.
    assert path[1] == pytest.approx([0.99, -0.1])
    assert len(path) == 101 and abs(path[1:, 1]).max() == pytest.approx(0.3)


def test_own_rates_are_multiplied(start):
    """The first step of Adam is as long as the rate."""
    made = DiracMap(start("gan", h=0, times=100.0))
    assert made(np.ones(2)) == pytest.approx([1.02, 0.98], abs=1e-6)


def test_rates_of_schedules_are_multiplied_too(start):
    made = DiracMap(start("r3gan", h=0, times=10.0))
    plain = DiracMap(start("r3gan", h=0))
    assert 1 - made(np.ones(2))[1] == pytest.approx(10 * (1 - plain(np.ones(2))[1]), rel=1e-6)


def test_several_slopes_are_part_of_the_place(start):
    """Of n fakes each is in half of the packs: ψ' = -θ/2 of both, θ' = (ψ₁ + ψ₂)/2 a pack, and ψ₁ - ψ₂ stays."""
    made = DiracMap(start("pacgan"))
    found = np.linalg.eigvals(made.jacobian(np.zeros(made.size))).astype(complex)
    assert np.sort_complex(found) == pytest.approx(np.sort_complex([1, *roots(2 - H**2 / 2, 1)]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mix-gan", "no single point θ and slope ψ"), ("infogan", r"more than a point and a slope: Q\.0\.weight, .*…$")],
)
def test_what_does_not_fit_is_told(start, name, reason):
    with pytest.raises(UserError, match=reason):
        DiracMap(start(name))


class Shifted(Variant):
    """A WGAN whose slope is drawn to 1: ψ' = -θ - γ(ψ - 1), θ' = ψ, at rest where ψ = 0 and θ = γ."""

    name = "shifted"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.1), "D": SGD(self.D.parameters(), 0.1)}

    def step(self, batch, clock):
        n = len(batch.real)
        pull = 0.25 * (self.D.head.weight - 1).square().sum()
        yield Update("D", self.D(self.sample(n).detach()).mean() - self.D(batch.real).mean() + pull)
        yield Update("G", -self.D(self.sample(n)).mean())


class Noisy(Shifted):
    """A WGAN whose real samples are noisy, so that ψ is at rest in the mean alone."""

    def step(self, batch, clock):
        n = len(batch.real)
        real = batch.real + torch.randn_like(batch.real)
        yield Update("D", self.D(self.sample(n).detach()).mean() - self.D(real).mean())
        yield Update("G", -self.D(self.sample(n)).mean())


class Climbing(Shifted):
    """D and G both want ψθ to grow, and G wants it to grow without end: there is no place of rest."""

    def step(self, batch, clock):
        fake = self.sample(len(batch.real))
        yield Update("D", -self.D(fake.detach()).exp().mean() - self.D.head.weight.sum())
        yield Update("G", -self.D(self.sample(len(batch.real))).mean() - self.G.theta.sum())


def test_an_equilibrium_elsewhere_is_found():
    made = DiracMap(course(Shifted))
    place = equilibrium([made], np.array([0.9, 0.4]))
    assert place == pytest.approx([0.5, 0.0], abs=1e-7)
    assert np.sort_complex(np.linalg.eigvals(made.jacobian(place)).astype(complex)) == pytest.approx(
        roots(2 - 0.5 * H - H**2, 1 - 0.5 * H), abs=1e-6
    )


def test_noise_is_no_move():
    assert (equilibrium([DiracMap(course(Noisy, seed=seed)) for seed in range(8)], np.ones(2)) == 0).all()


def test_a_variant_without_a_place_of_rest_has_none():
    made = DiracMap(course(Climbing))
    assert equilibrium([made], np.ones(2)) is None
    path, ended = made.walk(np.ones(2), 400)
    assert ended and len(path) < 400


def test_what_is_spent_on_it_is_not_metered(start):
    """A run refuses a variant whose kernels multiply more than its networks, which these are too small to outdo."""
    made = start("mmd-gan")
    made.advance(made.period)
    assert made.variant.state_dict()[PSI].shape == (16, 1)
