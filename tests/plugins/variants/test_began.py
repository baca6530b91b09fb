"""BEGAN: losses and the balance k by hand, k's limits, the rate's decay, the paper's networks, prior, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.began import BEGAN, Config
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, UserError
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


def test_defaults(parts):
    for optimizer in BEGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.9, 0.999))
    c = Config()
    assert (c.diversity, c.balance_rate, c.decay, c.last_lr) == (0.5, 1e-3, "stall", 2e-5)
    assert c.window == 100_000 * 16


MEASURES = [(1.0, 0.8), (0.5, 0.4), (0.45, 0.45), (0.448, 0.447), (0.3, 0.3), (0.5, 0.5), (0.5, 0.5)]
"""Two in each window. Their means fall to a half, stay, stay, fall by a third, rise, stay."""


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ("stall", [0.08, 0.08, 0.04, 0.02, 0.02, 0.015, 0.015]),
        ("fixed", [0.04, 0.02, 0.015, 0.015, 0.015, 0.015, 0.015]),
    ],
)
def test_the_rate_is_halved_at_the_end_of_windows(decay, rates, parts):
    """In windows of 10 images, served 5 at a time, and never below the last rate."""
    variant = BEGAN(parts, Config(lr=0.08, last_lr=0.015, decay=decay, window=10))
    found = []
    for first, second in MEASURES:
        before = variant.lr.item()
        variant.slow_down(5, torch.tensor(first))
        assert variant.lr.item() == before, "not within a window"
        variant.slow_down(5, torch.tensor(second))
        found.append(variant.lr.item())
    assert found == pytest.approx(rates)


def test_the_state_of_the_decay_is_kept_with_the_weights(parts):
    options = Config(lr=0.08, last_lr=0.001, window=10)
    variant, other = BEGAN(parts, options), BEGAN(parts, options)
    for measure in (1.0, 1.0, 0.999):
        variant.slow_down(5, torch.tensor(measure))
    other.load_state_dict(variant.state_dict())
    for either in (variant, other):
        either.slow_down(5, torch.tensor(0.999))
        assert either.lr.item() == pytest.approx(0.04)


def test_steps_slow_both_players_down_by_the_measure_they_log(parts, real, play):
    variant = BEGAN(parts, Config(lr=0.08, window=16))
    measures = [update.log["convergence"].item() for update in play(variant, real, 2) if update.player == "G"]
    assert variant.last.item() == pytest.approx(np.mean(measures))
    assert variant.seen.item() == 0
    schedules = variant.schedules(START)
    assert {player: settings["lr"].item() for player, settings in schedules.items()} == pytest.approx(
        {"G": 0.08, "D": 0.08}
    )
    assert BEGAN(parts, Config(decay="none")).schedules(START) == {}


def test_a_last_rate_above_the_first_raises_nothing(parts):
    variant = BEGAN(parts, Config(lr=1e-5, decay="fixed", window=1))
    variant.slow_down(5, torch.tensor(1.0))
    assert variant.lr.item() == pytest.approx(1e-5)


class NoParts:
    """Fails where a part is asked for: the paper's networks need none."""

    def __init__(self, shape):
        self.data, self.z_dim = DataSpec(shape), 100


def published(filters, hidden):
    """Count the parameters of GeneratorCNN and DiscriminatorCNN of carpedm20/BEGAN-tensorflow at 64×64×3."""

    def convolutions(pairs):
        return sum(9 * below * above + above for below, above in pairs)

    n, units = filters, 64 * filters
    decoder = hidden * units + units + convolutions([(n, n)] * 8 + [(n, 3)])
    encoder = [(3, n), (n, n), (n, n), (n, n), (n, 2 * n), (2 * n, 2 * n), (2 * n, 2 * n)]
    encoder += [(2 * n, 3 * n), (3 * n, 3 * n), (3 * n, 3 * n), (3 * n, 4 * n), (4 * n, 4 * n)]
    return decoder, decoder + convolutions(encoder) + 4 * units * hidden + hidden


def test_networks_are_as_large_as_published():
    variant = BEGAN(NoParts((3, 64, 64)), Config(filters=12, hidden=20))
    assert tuple(sum(p.numel() for p in network.parameters()) for network in (variant.G, variant.D)) == published(
        12, 20
    )


def test_networks_are_of_convolutions_and_elu_alone():
    variant = BEGAN(NoParts((1, 16, 16)), Config(filters=4))
    kinds = {type(m) for network in (variant.G, variant.D.encoder) for m in network.modules()}
    assert kinds == {nn.Sequential, nn.Linear, nn.Unflatten, nn.Flatten, nn.Conv2d, nn.ELU, nn.Upsample}
    assert [type(m) for m in variant.G] == [type(m) for m in variant.D.decoder], "G is built as the decoder is"
    assert not torch.equal(variant.G[0].weight, variant.D.decoder[0].weight), "with weights of its own"
    assert isinstance(variant.G[-1], nn.Conv2d) and isinstance(variant.D.decoder[-1], nn.Conv2d), "they end linear"


@pytest.mark.parametrize(
    ("shape", "base", "latents"),
    [((1, 8, 8), 8, 16), ((1, 28, 28), 7, 64), ((3, 32, 32), 8, 64), ((1, 48, 48), 12, 64), ((3, 15, 15), 15, 64)],
)
def test_sides_and_codes(shape, base, latents):
    """The first maps have 7 to 15 px a side, 8 at the sides of the paper; the code is as long as z."""
    variant, x = BEGAN(NoParts(shape), Config(filters=2)), torch.rand(3, *shape)
    assert variant.G[1](variant.G[0](torch.zeros(1, latents))).shape[-2:] == (base, base)
    assert variant.sample(3).shape == variant.D(x).shape == x.shape
    assert variant.noise(3).shape == variant.D.encoder(x).shape == (3, latents)


def test_weights_are_drawn_by_glorot_and_bengio():
    variant = BEGAN(NoParts((1, 8, 8)), Config(filters=32))
    layer = variant.D.encoder[2]
    assert layer.weight.std().item() == pytest.approx((2 / (2 * 9 * 32)) ** 0.5, rel=0.03)
    assert layer.weight.abs().max() <= (6 / (2 * 9 * 32)) ** 0.5
    assert layer.bias.abs().max() == 0


def test_finished_images_are_cut_off():
    variant = BEGAN(NoParts((1, 8, 8)), Config(filters=2))
    with torch.no_grad():
        variant.G[-1].bias.fill_(5.0)
    assert variant.sample(2).min() > 1
    assert variant.eval().sample(2).max() == 1


def test_points_are_not_cut_off(parts):
    variant = BEGAN(parts, Config()).eval()
    with torch.no_grad():
        variant.G.bias.fill_(9.0)
    assert variant.sample(5).max() > 1


def test_the_networks_of_the_backbone_can_be_asked_for():
    variant = BEGAN(DCGAN()(DataSpec((1, 8, 8))), Config(networks="backbone"))
    assert any(isinstance(m, nn.ConvTranspose2d) for m in variant.D.modules())
    assert variant.noise(2).shape == (2, 100)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((1, 6, 6), "not 6 px"), ((1, 34, 34), "not 34 px"), ((1, 8, 12), "square"), ((2,), None), ((3, 64, 64), None)],
)
def test_misfits(shape, reason):
    found = BEGAN.misfit(DataSpec(shape))
    assert found is None if reason is None else reason in found


def test_d_tells_images_from_their_median_within_a_few_updates(play):
    """From small weights without a norm, N(0, 0.02), it would still answer with one image for all."""
    torch.manual_seed(0)
    images = torch.tanh(2 * torch.randn(256, 3) @ torch.randn(3, 64)).view(-1, 1, 8, 8)
    variant = BEGAN(NoParts((1, 8, 8)), Config(lr=1e-3))
    losses = [update.log["real_error"].item() for update in play(variant, images[:64], 60) if update.player == "G"]
    median = (images - images.median(0).values).abs().mean().item()
    assert losses[-1] < 0.5 * median


@pytest.mark.parametrize(
    "setting",
    [{"diversity": "-0.5"}, {"balance_rate": "Infinity"}, {"lr": "fast"}, {"decay": "cosine"}, {"window": "0"}],
)
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(BEGAN, "began", setting)
