"""BEGAN: losses and the balance k by hand, k's limits and its keeping, the prior, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.began import BEGAN, Config
from torch.optim import Adam

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class Unlimited(BEGAN):
    """Broken on purpose: k is not held in [0, 1]."""

    def step(self, batch, clock):
        errors = {}
        for update in super().step(batch, clock):
            errors[update.player] = update
            yield update
        drift = self.config.diversity * self.error(batch.real) - errors["G"].loss
        self.k.add_(self.config.balance_rate * drift.detach())


@pytest.fixture
def error(affine):
    """The mean over points and coordinates of |AE(x) - x|."""

    def mean_absolute_error(variant, x):
        reconstruction = affine(variant.D.decoder, affine(variant.D.encoder, x))
        return np.abs(reconstruction - np.asarray(x)).mean()

    return mean_absolute_error


def test_losses_balance_and_convergence_are_those_of_the_paper(parts, real, perform, affine, error):
    config = Config(lr=0.01, diversity=0.7, balance_rate=0.02)
    variant = BEGAN(parts, config)
    variant.k.fill_(0.3)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.rand(8, 3) * 2 - 1, torch.rand(8, 3) * 2 - 1

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real = error(variant, real)
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(on_real - 0.3 * error(variant, affine(variant.G, z_d)), rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    on_fake = error(variant, affine(variant.G, z_g))
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(on_fake, rel=1e-5)
    assert update.log["convergence"].item() == pytest.approx(on_real + abs(0.7 * on_real - on_fake), rel=1e-5)
    perform(update, optimizers["G"])
    assert variant.k.item() == pytest.approx(0.3)

    assert next(step, None) is None
    assert variant.k.item() == pytest.approx(0.3 + 0.02 * (0.7 * on_real - on_fake), rel=1e-6)
    assert update.log["k"].item() == pytest.approx(0.3), "the trace shows the k that weighed D's loss"
    assert not any(value.requires_grad or value.ndim for value in update.log.values())


def check_balance_is_limited(cls, parts, real, play) -> None:
    for diversity, limit in ((0.0, 0.0), (100.0, 1.0)):
        variant = cls(parts, Config(diversity=diversity, balance_rate=10))
        variant.k.fill_(0.5)
        list(play(variant, real, 1))
        assert variant.k.item() == limit


def test_balance_stays_between_zero_and_one(parts, real, play):
    check_balance_is_limited(BEGAN, parts, real, play)
    with pytest.raises(AssertionError):
        check_balance_is_limited(Unlimited, parts, real, play)


def test_balance_moves_and_is_kept_with_the_weights(parts, real, play):
    variant = BEGAN(parts, Config(diversity=2.0))
    assert variant.k.item() == 0
    list(play(variant, real, 20))
    assert variant.k.item() > 0
    other = BEGAN(parts, Config(diversity=2.0))
    other.load_state_dict(variant.state_dict())
    assert torch.equal(other.k, variant.k)


def test_balance_is_a_buffer_and_carries_no_gradient(parts, real, play):
    variant = BEGAN(parts, Config())
    k = variant.k
    list(play(variant, real, 3))
    assert variant.k is k, "it moves in place"
    assert not k.requires_grad
    assert "k" in dict(variant.named_buffers())


def test_latents_are_uniform_on_the_cube(parts):
    z = BEGAN(parts, Config()).noise(20_000)
    assert z.shape == (20_000, 3)
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(z.var(0), torch.full((3,), 1 / 3), rtol=0, atol=0.01)


def test_players_take_turns(parts, real, play):
    variant = BEGAN(parts, Config())
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


def test_defaults_are_those_of_the_paper(parts):
    for optimizer in BEGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.999))
    assert (Config().diversity, Config().balance_rate) == (0.5, 1e-3)


@pytest.mark.parametrize("setting", [{"diversity": "-0.5"}, {"balance_rate": "Infinity"}, {"lr": "fast"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(BEGAN, "began", setting)
