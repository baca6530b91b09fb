"""WGAN-GP: loss and gradient of a linear critic in closed form, no mixing of samples, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.wgan_gp import WGANGP, Config
from torch.optim import Adam

from ganbench import Backbone, Batch, Clock, DataSpec, Discriminator, UserError
from ganbench.runs.options import resolve


def test_losses_of_a_linear_critic_are_known(parts, real, perform, affine):
    """The gradient of w·x + b is w everywhere, so the penalty is (‖w‖ - 1)² and its own gradient 2(‖w‖ - 1) w/‖w‖."""
    variant = WGANGP(parts, Config(lr=0.1, critic_steps=1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    torch.rand(8, 1)  # the places on the lines between real and fake
    z_g = torch.randn(8, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    weight = variant.D.head.weight.detach().double().numpy()[0]
    norm = np.sqrt((weight**2).sum())
    gap = affine(variant.D.head, real).mean() - affine(variant.D.head, fake).mean()
    assert update.loss.item() == pytest.approx(10 * (norm - 1) ** 2 - gap, rel=1e-5)
    assert update.log["penalty"].item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert update.log["wasserstein"].item() == pytest.approx(gap, rel=1e-5)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])
    expected = fake.mean(0) - real.double().numpy().mean(0) + 10 * 2 * (norm - 1) * weight / norm
    np.testing.assert_allclose(variant.D.head.weight.grad.numpy()[0], expected, rtol=1e-4)

    update = next(step)
    assert update.loss.item() == pytest.approx(-affine(variant.D.head, affine(variant.G, z_g)).mean(), rel=1e-5)


def check_samples_do_not_mix(critic: Discriminator, data: DataSpec) -> None:
    x = torch.randn(6, *data.shape)
    torch.testing.assert_close(critic(x)[:2], critic(x[:2]))


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 16, 16))), (MLP(), DataSpec((1, 8, 8)))])
def test_the_critic_does_not_mix_samples(backbone: Backbone, data):
    torch.manual_seed(0)
    check_samples_do_not_mix(WGANGP(backbone(data), Config()).D, data)
    with pytest.raises(AssertionError):
        check_samples_do_not_mix(backbone(data).discriminator(norm="batch"), data)


def test_the_penalty_reaches_every_weight_of_a_convolutional_critic(play):
    torch.manual_seed(0)
    variant = WGANGP(DCGAN()(DataSpec((1, 8, 8))), Config())
    list(play(variant, torch.randn(4, 1, 8, 8), 1))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in variant.D.parameters())


def test_five_critic_updates_go_before_each_of_the_generator(parts, real, play):
    variant = WGANGP(parts, Config())
    assert variant.period == 5
    players = [update.player for update in play(variant, real, 20)]
    assert players == ["D", "D", "D", "D", "D", "G"] * 4


def test_both_players_use_the_adam_of_the_paper(parts):
    for optimizer in WGANGP(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.0, 0.9))
    assert Config().penalty == 10


@pytest.mark.parametrize("setting", [{"penalty": "-1"}, {"critic_steps": "0"}, {"betas": "-0.1,0.9"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(WGANGP, "wgan-gp", setting)
