"""WGAN: the critic's gap by hand, RMSprop and clipping by hand, what is clipped and when, schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.wgan import WGAN, Config
from torch.optim import RMSprop

from ganbench import Batch, Clock, DataSpec, UserError, Variant
from ganbench.runs.options import resolve


class Unclipped(WGAN):
    """Broken on purpose."""

    def clip_critic(self, *_):
        pass


class GeneratorFirst(WGAN):
    """Broken on purpose: G moves at steps 0, 5, …, before the critic has had its turns."""

    def step(self, batch, clock):
        yield from super().step(batch, Clock(clock.step + self.period - 1, clock.progress))


def convolutional(cls: type[Variant]) -> Variant:
    torch.manual_seed(0)
    return cls(DCGAN()(DataSpec((1, 8, 8))), Config())


def test_losses_are_differences_of_means(parts, real, perform, affine):
    variant = WGAN(parts, Config(lr=0.1, clip=0.05, critic_steps=1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    gap = affine(variant.D.head, real).mean() - affine(variant.D.head, affine(variant.G, z_d)).mean()
    assert update.loss.item() == pytest.approx(-gap, rel=1e-5)
    assert update.log["wasserstein"].item() == pytest.approx(gap, rel=1e-5)
    assert not update.log["wasserstein"].requires_grad
    perform(update, optimizers["D"])

    update = next(step)
    clipped = affine(variant.D.head, affine(variant.G, z_g))
    assert update.loss.item() == pytest.approx(-clipped.mean(), rel=1e-5)
    assert variant.D.head.weight.abs().max() <= 0.05


def test_a_critic_update_is_rmsprop_and_then_the_clip(parts, real, play, affine):
    """w ← clip(w - α g / √(0.01 g²), -c, c) at the first step; g of a linear critic is the gap between the means."""
    variant = WGAN(parts, Config(lr=0.01, clip=0.1))
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    before = variant.D.head.weight.detach().double().numpy().copy()
    gradient = fake.mean(0) - real.double().numpy().mean(0)
    moved = before - 0.01 * gradient / (0.1 * np.abs(gradient) + 1e-8)
    assert np.abs(moved).max() > 0.1 > np.abs(moved).min()
    torch.manual_seed(5)
    list(play(variant, real, 1))
    np.testing.assert_allclose(variant.D.head.weight.detach().numpy(), np.clip(moved, -0.1, 0.1), rtol=1e-5)


def check_weights_stay_in_the_box(variant: Variant, play) -> None:
    real = torch.randn(8, 1, 8, 8)
    for _ in play(variant, real, 6):  # after every critic update, and so also when G's loss was taken
        for parameter in variant.D.parameters():
            assert parameter.abs().max() <= 0.01


def test_every_weight_of_the_critic_is_clipped_after_each_update(play):
    check_weights_stay_in_the_box(convolutional(WGAN), play)
    with pytest.raises(AssertionError):
        check_weights_stay_in_the_box(convolutional(Unclipped), play)


def test_the_generator_meets_a_clipped_critic(perform):
    """The authors' code clips before a critic step, so that G meets weights outside the box; Algorithm 1 does not."""
    variant = convolutional(WGAN)
    optimizers, real = variant.optimizers(), torch.randn(8, 1, 8, 8)
    for update in variant.step(Batch(real), Clock(4, torch.zeros(()))):
        largest = max(parameter.abs().max().item() for parameter in variant.D.parameters())
        assert (largest <= 0.01 + 1e-9) == (update.player == "G")
        perform(update, optimizers[update.player])


def test_buffers_and_the_generator_are_not_clipped(play):
    torch.manual_seed(0)
    variant = WGAN(DCGAN()(DataSpec((1, 16, 16))), Config())
    list(play(variant, torch.randn(8, 1, 16, 16), 2))
    buffers = dict(variant.D.named_buffers())
    assert buffers["trunk.3.running_var"].min() > 0.01
    assert buffers["trunk.3.num_batches_tracked"] == 4  # real and fake, each by itself, twice
    assert max(parameter.abs().max() for parameter in variant.G.parameters()) > 0.01


def check_schedule(variant: Variant, real, play) -> None:
    players = [update.player for update in play(variant, real, 20)]
    assert players == ["D", "D", "D", "D", "D", "G"] * 4


def test_five_critic_updates_go_before_each_of_the_generator(parts, real, play):
    variant = WGAN(parts, Config())
    assert variant.period == 5
    check_schedule(variant, real, play)
    with pytest.raises(AssertionError):
        check_schedule(GeneratorFirst(parts, Config()), real, play)


def test_the_number_of_critic_steps_is_an_option(parts, real, play):
    variant = WGAN(parts, resolve(WGAN, "wgan", {"critic_steps": "2"}))
    assert variant.period == 2
    assert [update.player for update in play(variant, real, 4)] == ["D", "D", "G"] * 2


def test_both_players_use_rmsprop_without_momentum(parts):
    for optimizer in WGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is RMSprop
        assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (5e-5, 0)
        assert not optimizer.defaults["centered"]
    assert Config().clip == 0.01


@pytest.mark.parametrize("setting", [{"clip": "0"}, {"critic_steps": "0"}, {"critic_steps": "1.5"}, {"lr": "NaN"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(WGAN, "wgan", setting)
