"""Consensus optimisation: a bilinear game, linear networks in numpy, the Dirac-GAN, one point for both players."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dirac import differences, dirac_course, path, slopes
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.consensus import Config, Consensus, agree
from ganbench_plugins.variants.gan import GAN
from ganbench_plugins.variants.gan_minimax import MinimaxGAN
from torch import nn
from torch.optim import RMSprop

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 3.0])
def test_a_bilinear_game_spirals_inwards_as_fast_as_its_eigenvalues_say(gamma):
    """min_x max_y xy: the slopes are y + γx and γy - x, so a step of h is a rotation times |1 - hγ + hi|."""
    x, y = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.8, -0.3))
    start, h = np.hypot(0.8, -0.3), 0.1
    for steps in range(1, 31):
        made, norm = agree({"x": x * y, "y": -x * y}, {"x": [x], "y": [y]}, gamma)
        before = x.item(), y.item()
        assert norm.item() == pytest.approx((before[0] ** 2 + before[1] ** 2) / 2)
        assert made["x"].item() == pytest.approx(before[0] * before[1] + gamma * norm.item())
        assert made["y"].item() == pytest.approx(-before[0] * before[1] + gamma * norm.item())
        (by_x,) = torch.autograd.grad(made["x"], x)
        with torch.no_grad():
            x -= h * by_x
        (by_y,) = torch.autograd.grad(made["y"], y)  # though x has moved
        with torch.no_grad():
            y -= h * by_y
        assert by_x.item() == pytest.approx(before[1] + gamma * before[0])
        assert by_y.item() == pytest.approx(gamma * before[1] - before[0])
        expected = start * abs(1 - h * gamma + h * 1j) ** steps
        assert np.hypot(x.item(), y.item()) == pytest.approx(expected)
    assert (np.hypot(x.item(), y.item()) < start) == (gamma > 0)


def test_each_player_is_pulled_by_the_gradients_of_all_and_what_has_none_is_left():
    """L_a = a b², L_b = b³: ½‖v‖² = ½b⁴ + 9/2 b⁴ whatever a is, so a is not pulled, and b by 20 b³."""
    a, b, idle = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.7, -1.1, 5.0))
    made, norm = agree({"a": a * b**2, "b": b**3}, {"a": [a, idle], "b": [b]}, 2.0)
    assert norm.item() == pytest.approx(5 * 1.1**4)
    by_a, by_idle = torch.autograd.grad(made["a"], [a, idle])
    (by_b,) = torch.autograd.grad(made["b"], [b])
    assert by_a.item() == pytest.approx(1.1**2) and by_idle.item() == 0
    assert by_b.item() == pytest.approx(3 * 1.1**2 - 2 * 20 * 1.1**3)


@pytest.mark.parametrize("saturating", [False, True])
def test_losses_and_gradients_of_linear_networks_are_those_worked_out_by_hand(parts, real, saturating):
    """G(z) = Wz + c, D(x) = w·x + b; the norm's slope by central differences of its formula."""
    variant = Consensus(parts, Config(penalty=4.0, saturating=saturating)).double()
    x = real.double()
    torch.manual_seed(5)
    z = torch.randn(8, 3).double().numpy()
    shapes = [p.shape for p in (*variant.D.parameters(), *variant.G.parameters())]
    at = np.concatenate([p.detach().numpy().ravel() for p in (*variant.D.parameters(), *variant.G.parameters())])

    def unpacked(at):
        ends = np.cumsum([shape.numel() for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(at, ends[:-1]), shapes, strict=True)]

    def worked_out(at):
        w, b, W, c = unpacked(at)
        fake, X = z @ W.T + c, x.numpy()
        on_real, on_fake = X @ w[0] + b[0], fake @ w[0] + b[0]
        of_D = softplus(-on_real).mean() + softplus(on_fake).mean()
        of_G = -softplus(on_fake).mean() if saturating else softplus(-on_fake).mean()
        wrong, seen = -sigmoid(-on_real) / 8, sigmoid(on_fake) / 8  # ∂L_D by D's outputs
        pull = (-sigmoid(on_fake) if saturating else -sigmoid(-on_fake)) / 8  # ∂L_G by D's outputs on fakes
        by_D = [(wrong @ X + seen @ fake), [wrong.sum() + seen.sum()]]
        by_G = [np.outer(w[0], pull @ z).ravel(), pull.sum() * w[0]]
        return of_D, of_G, np.concatenate(by_D), np.concatenate(by_G)

    def half_square(at):
        _, _, by_D, by_G = worked_out(at)
        return 0.5 * (by_D @ by_D + by_G @ by_G)

    of_D, of_G, by_D, by_G = worked_out(at)
    expected = np.concatenate([by_D, by_G]) + 4 * differences(half_square, at)
    variant.noise = lambda n: torch.randn(n, 3).double()
    torch.manual_seed(5)
    first, second = variant.step(Batch(x), START)
    assert (first.player, second.player) == ("D", "G")
    assert first.log["penalty"].item() == pytest.approx(half_square(at))
    assert first.loss.item() == pytest.approx(of_D + 4 * half_square(at))
    assert second.loss.item() == pytest.approx(of_G + 4 * half_square(at))
    found = [torch.autograd.grad(first.loss, [*variant.D.parameters()])]
    found += [torch.autograd.grad(second.loss, [*variant.G.parameters()])]
    np.testing.assert_allclose(np.concatenate([g.numpy().ravel() for each in found for g in each]), expected, rtol=1e-6)


def test_what_a_player_is_told_is_of_the_point_before_anybody_moved(parts, real):
    """G's gradient is the same whether D moves before it is asked for, or not."""
    found = []
    for far in (0.0, 3.0):
        torch.manual_seed(0)
        variant = Consensus(parts, Config())
        torch.manual_seed(5)
        updates = variant.step(Batch(real), START)
        next(updates)
        with torch.no_grad():
            for weight in variant.D.parameters():
                weight.add_(far)
        loss = next(updates).loss
        found.append([loss.detach(), *torch.autograd.grad(loss, list(variant.G.parameters()))])
        assert next(updates, None) is None
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def field(theta, psi, gamma, saturating):
    """The slopes of θ and ψ with D(x) = ψx: L_D = sp(0) + sp(ψθ), L_G = -sp(ψθ) or sp(-ψθ); by hand."""
    t = psi * theta
    s, ds = sigmoid(t), sigmoid(t) * sigmoid(-t)
    p, dp = (-s, -ds) if saturating else (-sigmoid(-t), ds)  # ∂L_G/∂t and its slope
    by_theta, by_psi = psi * p, theta * s
    pull_theta = psi * p * psi * dp * psi + theta * s * (s + theta * ds * psi)
    pull_psi = psi * p * (p + psi * dp * theta) + theta * s * theta * ds * theta
    return np.array([by_theta + gamma * pull_theta, by_psi + gamma * pull_psi])


@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize(("theta", "psi"), [(1.0, 1.0), (0.4, -1.7), (-2.0, 0.1), (0.0, 0.0)])
def test_the_field_of_the_dirac_gan_is_known(theta, psi, saturating):
    course = dirac_course(Consensus, Config(penalty=0.7, saturating=saturating), theta, psi)
    np.testing.assert_allclose(slopes(course), field(theta, psi, 0.7, saturating), atol=1e-12)


def test_with_the_saturating_loss_it_is_the_field_of_the_authors_own_simulation_but_for_a_factor():
    """GAN_Consensus in notebooks/diracgan/gans.py of Mescheder et al. 2018; their ψ has the other sign.

    There the slope of f'(ψθ)² lacks its factor of two, which matters away from (0, 0) alone.
    """

    def theirs(theta, psi, reg):
        f1, f2 = sigmoid(-psi * theta), -sigmoid(-psi * theta) * sigmoid(psi * theta)
        squares = 2 * 0.5 * (psi**2 + theta**2) * f1 * f2  # without the two there
        return np.array(
            [
                -psi * f1 - reg * (theta * f1**2 + psi * squares),
                theta * f1 - reg * (psi * f1**2 + theta * squares),
            ]
        )

    for theta, psi in ((1.0, 1.0), (0.3, -1.2)):
        found = slopes(dirac_course(Consensus, Config(penalty=1.0, saturating=True), theta, -psi))
        np.testing.assert_allclose([-found[0], found[1]], theirs(theta, psi, 1.0), atol=1e-12)


@pytest.mark.parametrize("saturating", [False, True])
def test_the_dirac_gan_converges_as_fast_as_its_eigenvalues_say(saturating):
    """At (0, 0) the field turns by ½ and pulls by γ/4: a step of h multiplies the distance by |1 - hγ/4 + ih/2|."""
    h, gamma = 0.2, 1.0
    config = Config(penalty=gamma, saturating=saturating)
    lengths = np.linalg.norm(path(dirac_course(Consensus, config, 1.0, 1.0, lr=h), 400), axis=1)
    assert lengths[-1] < 1e-6
    lengths = np.linalg.norm(path(dirac_course(Consensus, config, 1e-4, 1e-4, lr=h), 50), axis=1)
    assert (lengths[-1] / lengths[0]) ** (1 / 50) == pytest.approx(abs(1 - h * gamma / 4 + 0.5j * h), rel=1e-6)


@pytest.mark.parametrize("cls", [GAN, MinimaxGAN])
def test_there_plain_gans_circle(cls):
    """Close to (0, 0) they come no nearer; from afar the minimax game stays there, the other comes in ever slower."""
    lengths = np.linalg.norm(path(dirac_course(cls, resolve(cls, cls.name, {}), 1e-4, 1e-4), 160), axis=1)
    assert lengths[-40:].max() == pytest.approx(lengths[:40].max(), rel=0.01)  # 31 steps are half a turn
    lengths = np.linalg.norm(path(dirac_course(cls, resolve(cls, cls.name, {}), 1.0, 1.0), 500), axis=1)
    assert lengths[-100:].min() > (0.9 if cls is MinimaxGAN else 0.2)


def test_a_weak_penalty_does_not_hold_a_large_step():
    """|1 - hγ/4 + ih/2| = 1 at γ = h/2 and a little more: below that the distance grows."""
    for gamma, grows in ((0.2, True), (0.3, False)):
        lengths = np.linalg.norm(path(dirac_course(Consensus, Config(penalty=gamma), 1e-4, 1e-4, lr=0.5), 60), axis=1)
        assert (lengths[-1] > lengths[0]) == grows


def test_g_is_asked_once_a_step_and_d_has_no_batch_norm():
    torch.manual_seed(0)
    variant = Consensus(DCGAN()(DataSpec((1, 8, 8))), Config())
    norms = [module for module in variant.G.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not [module for module in variant.D.modules() if "Norm" in type(module).__name__]
    assert [u.player for u in variant.step(Batch(torch.rand(6, 1, 8, 8)), START)] == ["D", "G"]
    assert all(norm.num_batches_tracked == 1 for norm in norms)


def test_defaults_and_options(parts):
    for optimizer in Consensus(parts, Config()).optimizers().values():
        assert type(optimizer) is RMSprop
        assert [optimizer.defaults[name] for name in ("lr", "alpha", "eps", "momentum")] == [1e-4, 0.9, 1e-5, 0]
    assert (Config().penalty, Config().saturating) == (10, False)
    for wrong in ({"penalty": "-1"}, {"decay": "1"}, {"saturating": "perhaps"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            resolve(Consensus, "consensus", wrong)
