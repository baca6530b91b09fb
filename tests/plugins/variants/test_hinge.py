"""Hinge: loss and gradient of a linear D by hand, flat beyond the margin, schedule, options."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.hinge import Config, Hinge
from torch import nn
from torch.optim import Adam, RMSprop

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


def test_losses_are_those_of_the_paper(parts, real, perform, affine):
    variant = Hinge(parts, Config(lr=0.1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    fake, x = affine(variant.G, z_d), real.double().numpy()
    on_real, on_fake = affine(variant.D.head, x)[:, 0], affine(variant.D.head, fake)[:, 0]
    expected = np.maximum(0, 1 - on_real).mean() + np.maximum(0, 1 + on_fake).mean()
    assert update.player == "D" and update.loss.item() == pytest.approx(expected, rel=1e-5)
    slope = (fake * (on_fake > -1)[:, None] - x * (on_real < 1)[:, None]).mean(0)
    perform(update, optimizers["D"])
    np.testing.assert_allclose(variant.D.head.weight.grad.numpy()[0], slope, rtol=1e-4)
    update = next(step)
    assert update.loss.item() == pytest.approx(-affine(variant.D.head, affine(variant.G, z_g)).mean(), rel=1e-5)


def test_beyond_the_margin_nothing_is_learnt(parts, real):
    variant = Hinge(parts, Config())
    with torch.no_grad():
        nn.init.constant_(variant.G.weight, 0)
        variant.G.bias.fill_(-100)
        variant.D.head.weight.fill_(1)
        variant.D.head.bias.fill_(20)  # D(x) > 1 on the data, D(G(z)) = -180
    update = next(variant.step(Batch(real), START))
    update.loss.backward()
    assert update.loss.item() == 0 and variant.D.head.weight.grad.abs().max() == 0


def test_schedule_and_optimizers(parts, real, play):
    assert [u.player for u in play(Hinge(parts, Config()), real, 20)] == ["D", "G"] * 20
    slow = Hinge(parts, Config(critic_steps=4))
    assert slow.period == 4 and [u.player for u in play(slow, real, 20)] == ["D", "D", "D", "D", "G"] * 5
    for optimizer in Hinge(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))


@pytest.mark.parametrize("setting", [{"norm": "group"}, {"critic_steps": "0"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(Hinge, "hinge", setting)


@pytest.mark.parametrize("slack", [1.0, 0.25])
def test_the_machine_s_norm_is_weight_decay_on_the_last_layer(parts, real, play, slack):
    """½‖w‖² + C Σ hinge over C n samples: what weight decay of 1 / (C n) does, on the weights and not on the bias."""
    torch.manual_seed(3)
    variant = Hinge(parts, Config(lr=0.01, optimizer="rmsprop", slack=slack, generator_steps=1))
    weight, bias = (p.detach().clone().requires_grad_(True) for p in variant.D.head.parameters())
    groups = [{"params": [weight], "weight_decay": 1 / (slack * 8)}, {"params": [bias]}]
    other = RMSprop(groups, 0.01)
    torch.manual_seed(5)
    fake = variant.G(torch.randn(8, 3)).detach()
    loss = (1 - real @ weight.T - bias).clamp(min=0).mean() + (1 + fake @ weight.T + bias).clamp(min=0).mean()
    loss.backward()
    other.step()
    torch.manual_seed(5)
    next(iter(play(variant, real, 1)))
    torch.testing.assert_close(variant.D.head.weight, weight, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(variant.D.head.bias, bias, rtol=1e-5, atol=1e-7)
    assert not torch.equal(weight, Hinge(parts, Config()).D.head.weight)


def test_the_paper_s_own_setting(parts, real, play):
    variant = Hinge(parts, Config(optimizer="rmsprop", generator_steps=10, slack=1.0))
    updates = list(play(variant, real, 2))
    assert [u.player for u in updates] == (["D"] + ["G"] * 10) * 2
    losses = [u.loss.item() for u in updates[1:11]]
    assert len(set(losses)) == 10, "each of G's updates draws latents of its own"
    for optimizer in variant.optimizers().values():
        assert type(optimizer) is RMSprop
        assert (optimizer.defaults["lr"], optimizer.defaults["alpha"]) == (2e-4, 0.99)
