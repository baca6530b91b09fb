"""WGAN-div: the powered slope of a linear critic, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.wgan_div import Config, WGANDiv

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve


@pytest.mark.parametrize(("k", "p"), [(2.0, 6.0), (0.5, 2.0), (1.0, 3.0)])
def test_losses_of_a_linear_critic_are_known(parts, real, perform, affine, k, p):
    variant = WGANDiv(parts, Config(lr=0.1, critic_steps=1, penalty=k, power=p))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    torch.rand(8, 1)
    z_g = torch.randn(8, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    weight = variant.D.head.weight.detach().double().numpy()[0]
    norm = np.sqrt((weight**2).sum())
    gap = affine(variant.D.head, real).mean() - affine(variant.D.head, fake).mean()
    assert update.loss.item() == pytest.approx(k * norm**p - gap, rel=1e-4)
    assert update.log["penalty"].item() == pytest.approx(norm**p, rel=1e-4)
    perform(update, optimizers["D"])
    expected = fake.mean(0) - real.double().numpy().mean(0) + k * p * norm ** (p - 2) * weight
    np.testing.assert_allclose(variant.D.head.weight.grad.numpy()[0], expected, rtol=1e-3)
    on_fake = affine(variant.D.head, affine(variant.G, z_g))
    assert next(step).loss.item() == pytest.approx(-on_fake.mean(), rel=1e-5)


def test_schedule_defaults_and_options(parts, real, play):
    variant = WGANDiv(parts, Config())
    assert variant.period == 5 and [u.player for u in play(variant, real, 20)] == (["D"] * 5 + ["G"]) * 4
    assert (Config().penalty, Config().power) == (2, 6)
    with pytest.raises(UserError, match="power"):
        resolve(WGANDiv, "wgan-div", {"power": "0"})
