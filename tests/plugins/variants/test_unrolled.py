"""Unrolled GAN: the inner loop and its gradient by numpy and finite differences, no step ahead, one step of D."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.gan_minimax import Config as MinimaxConfig, MinimaxGAN
from ganbench_plugins.variants.unrolled import Config, UnrolledGAN
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, UserError, discriminator_loss
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class FirstOrder(UnrolledGAN):
    """Broken on purpose: the discriminator's steps ahead are constants for the generator."""

    def descend(self, weight, slope, memory):
        return super().descend(weight, slope.detach(), memory)


class OneTooFew(UnrolledGAN):
    """Broken on purpose: K - 1 steps, as some ports have it."""

    def unroll(self, real, fake):
        self.config = Config(**{**vars(self.config), "steps": self.config.steps - 1})
        return super().unroll(real, fake)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logistic_loss(w, real, fake):
    """D's loss and its slope, D(x) = w·(x, 1)."""
    real, fake = (np.concatenate([x, np.ones((len(x), 1))], 1) for x in (real, fake))
    loss = -np.log(sigmoid(real @ w)).mean() - np.log(1 - sigmoid(fake @ w)).mean()
    return loss, -((1 - sigmoid(real @ w)) @ real) / len(real) + sigmoid(fake @ w) @ fake / len(fake)


def descended(w, m, v, t, lr, inner, steps, real, fake):
    """Where D is after so many steps on one batch."""
    for _ in range(steps):
        _, slope = logistic_loss(w, real, fake)
        if inner == "sgd":
            w = w - lr * slope
            continue
        t, m, v = t + 1, 0.5 * m + 0.5 * slope, 0.99 * v + 0.01 * slope**2
        w = w - lr * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return w


def vector(weight, bias):
    return np.concatenate([weight.detach().double().numpy().ravel(), bias.detach().double().numpy()])


def check_gradient(cls, parts, real, play, inner, warm, steps=4) -> None:
    """The generator's loss and gradient, against central differences of the whole inner loop in numpy."""
    config = Config(discriminator_lr=0.3, generator_lr=1e-6, inner=inner, steps=steps)
    variant = cls(parts, config)
    optimizers = variant.optimizers()
    torch.manual_seed(3)
    for number in range(warm):
        for update in variant.step(Batch(real), Clock(number, torch.zeros(()))):
            optimizers[update.player].zero_grad()
            update.loss.backward(inputs=list(getattr(variant, update.player).parameters()))
            optimizers[update.player].step()
    head = variant.D.head
    state = [optimizers["D"].state[p] for p in (head.weight, head.bias)]
    m, v = (vector(*[s[key] for s in state]) for key in ("exp_avg", "exp_avg_sq"))
    start, theta = vector(head.weight, head.bias), vector(variant.G.weight, variant.G.bias)
    torch.manual_seed(5)
    z = torch.randn(8, 3).double().numpy()
    x = real.double().numpy()

    def objective(theta):
        fake = z @ theta[:6].reshape(2, 3).T + theta[6:]
        ahead = descended(start, m, v, warm, config.discriminator_lr, inner, steps, x, fake)
        return -logistic_loss(ahead, x, fake)[0]

    torch.manual_seed(5)
    update = next(variant.step(Batch(real), Clock(warm, torch.zeros(()))))
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(objective(theta), rel=1e-4)
    found = vector(*torch.autograd.grad(update.loss, list(variant.G.parameters())))
    differences = [(objective(theta + step) - objective(theta - step)) / 2e-6 for step in 1e-6 * np.eye(8)]
    np.testing.assert_allclose(found, differences, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize(("inner", "warm"), [("sgd", 0), ("sgd", 3), ("adam", 3), ("adam", 10)])
def test_the_gradient_runs_through_the_steps_ahead(parts, real, play, inner, warm):
    check_gradient(UnrolledGAN, parts, real, play, inner, warm)
    for broken in (FirstOrder, OneTooFew):
        with pytest.raises(AssertionError):
            check_gradient(broken, parts, real, play, inner, warm)


def test_the_first_step_of_adam_goes_by_the_signs(parts, real, play):
    """Fresh moments: each weight moves by its rate, whatever the slope, so the loss is known and finite."""
    check_gradient(UnrolledGAN, parts, real, play, "adam", 0, steps=1)


def test_without_steps_it_is_the_minimax_gan(parts, real):
    """The loss differs by the real half, which is a constant for G."""
    unrolled = UnrolledGAN(parts, Config(steps=0))
    minimax = MinimaxGAN(parts, MinimaxConfig())
    minimax.load_state_dict(unrolled.state_dict())
    unrolled.optimizers()
    torch.manual_seed(5)
    ours = next(unrolled.step(Batch(real), START))
    torch.manual_seed(5)
    fake = minimax.sample(8)
    theirs = -torch.nn.functional.softplus(minimax.D(fake)).mean()
    gradients = [
        torch.autograd.grad(loss, list(v.G.parameters())) for loss, v in ((ours.loss, unrolled), (theirs, minimax))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    constant = torch.nn.functional.softplus(-minimax.D(real)).mean()
    torch.testing.assert_close(ours.loss, theirs - constant)


@pytest.mark.parametrize("steps", [0, 5])
def test_the_discriminator_itself_makes_one_step_from_where_it_was(parts, real, play, steps):
    variant = UnrolledGAN(parts, Config(steps=steps, generator_lr=0.1, discriminator_lr=0.05))
    expected = copy.deepcopy(variant.D)
    optimizer = Adam(expected.parameters(), 0.05, (0.5, 0.99))
    torch.manual_seed(5)
    fake = variant.sample(8).detach()  # before G moves
    discriminator_loss(expected(real), expected(fake)).backward()
    optimizer.step()
    torch.manual_seed(5)
    list(play(variant, real, 1))
    for one, other in zip(variant.D.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_imagined_steps_leave_weights_and_moments_alone(parts, real, play):
    variant = UnrolledGAN(parts, Config())
    list(play(variant, real, 2))
    weights = copy.deepcopy(variant.state_dict())
    moments = copy.deepcopy(variant.outer.state_dict()["state"])
    next(variant.step(Batch(real), START)).loss.backward()
    assert all(torch.equal(value, weights[name]) for name, value in variant.state_dict().items())
    now = variant.outer.state_dict()["state"]
    assert all(torch.equal(now[i][key], moments[i][key]) for i in moments for key in moments[i])


def test_moments_are_those_of_the_optimizer_that_the_harness_runs(parts, real, play):
    variant = UnrolledGAN(parts, Config())
    list(play(variant, real, 3))  # `play` asks for the optimizers, as the harness does
    assert variant.outer.state[variant.D.head.weight]["step"].item() == 3


def test_counts_and_moments_are_tensors_that_are_the_same_from_the_first_step_on(parts, real, play):
    """Steps replayed from a recording read where these lie: no number on the host, no other tensor after a step."""
    variant = UnrolledGAN(parts, Config())
    optimizer = variant.optimizers()["D"]
    before = {id(weight): dict(optimizer.state[weight]) for weight in variant.D.parameters()}
    assert all(not value.any() for state in before.values() for value in state.values())
    for weight in variant.D.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for weight in variant.D.parameters():
        state = optimizer.state[weight]
        assert state.keys() == before[id(weight)].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(state[name] is before[id(weight)][name] for name in state)
        assert state["step"] == 1 and state["step"].device == weight.device
        mean, square, steps = variant.moments(weight)
        assert (mean is state["exp_avg"]) and (square is state["exp_avg_sq"]) and (steps is state["step"])


def test_adam_starts_as_it_would_have_by_itself(parts, real, play):
    """What is made beforehand is what Adam makes at its first step."""
    variant = UnrolledGAN(parts, Config(discriminator_lr=0.05))
    other = copy.deepcopy(variant.D)
    plain, ours = Adam(other.parameters(), 0.05, (0.5, 0.99)), variant.optimizers()["D"]
    for _ in range(3):
        for network, optimizer in ((variant.D, ours), (other, plain)):
            optimizer.zero_grad()
            discriminator_loss(network(real), network(real + 1)).backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(variant.D.parameters(), other.parameters(), strict=True))


def test_the_gradient_runs_through_the_batch_norm_of_the_discriminator(play):
    """Against central differences of the same objective, where D is a convolution, batch norm and a linear layer."""
    torch.manual_seed(0)
    backbone = DCGAN()
    backbone.config = Convolutions(width=2, z_dim=3)
    variant = UnrolledGAN(backbone(DataSpec((1, 8, 8))), Config(norm="batch", steps=2, discriminator_lr=0.05)).double()
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in variant.D.modules())
    variant.D = nn.Sequential(variant.D.trunk, variant.D.head)  # without the cast to float32
    variant.optimizers()
    for weight in variant.D.parameters():  # moments on which a step depends smoothly
        variant.outer.state[weight]["exp_avg_sq"].fill_(0.1)
        variant.outer.state[weight]["step"].fill_(5)
    real = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    fake = torch.randn(6, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(fake)
    (slope,) = torch.autograd.grad(variant.unroll(real, fake), fake)
    with torch.no_grad():
        ends = [fake + step * direction for step in (1e-5, -1e-5)]
    values = [variant.unroll(real, end).item() for end in ends]
    assert float((slope * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((1, 8, 8))), (MLP(), DataSpec((2,)))])
def test_weights_that_have_no_gradient_stay_finite(backbone, data, play):
    """Units that are dead get a slope of exactly zero, where a plain root has an infinite derivative."""
    torch.manual_seed(0)
    variant = UnrolledGAN(backbone(data), Config())
    first = next(layer for layer in variant.D.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    nn.init.zeros_(variant.D.head.weight)  # all slopes below the head are zero at first
    nn.init.zeros_(first.weight)
    for update in play(variant, torch.randn(4, *data.shape), 2):
        assert update.loss.isfinite()
        assert all(p.grad.isfinite().all() for p in getattr(variant, update.player).parameters())


def test_players_take_turns_and_the_generator_looks_ahead_first(parts, real, play):
    variant = UnrolledGAN(parts, Config())
    assert [update.player for update in play(variant, real, 20)] == ["G", "D"] * 20
    assert variant.period == 1


def test_defaults(parts):
    optimizers = UnrolledGAN(parts, Config()).optimizers()
    assert all(type(optimizer) is Adam for optimizer in optimizers.values())
    assert {player: optimizer.defaults["lr"] for player, optimizer in optimizers.items()} == {"G": 1e-4, "D": 2e-4}
    assert all(optimizer.defaults["betas"] == (0.5, 0.99) for optimizer in optimizers.values())
    assert (Config().steps, Config().inner, Config().norm) == (5, "adam", "none")


@pytest.mark.parametrize("setting", [{"steps": "-1"}, {"inner": "rmsprop"}, {"discriminator_lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(UnrolledGAN, "unrolled", setting)
