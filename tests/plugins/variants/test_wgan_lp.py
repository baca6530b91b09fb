"""WGAN-LP: the penalty is one-sided, its value for a linear critic, where it is taken, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.wgan_lp import WGANLP, Config
from torch import nn

from ganbench import Batch, Clock, Discriminator, UserError
from ganbench.runs.options import resolve


@pytest.mark.parametrize(("length", "expected"), [(0.3, 0.0), (1.0, 0.0), (2.5, 2.25)])
def test_only_slopes_above_one_cost(parts, real, affine, length, expected):
    variant = WGANLP(parts, Config(critic_steps=1))
    with torch.no_grad():
        variant.D.head.weight.mul_(length / variant.D.head.weight.norm())
    torch.manual_seed(5)
    fake = affine(variant.G, torch.randn(8, 3))
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), Clock(0, torch.zeros(()))))
    gap = affine(variant.D.head, real).mean() - affine(variant.D.head, fake).mean()
    assert update.log["penalty"].item() == pytest.approx(expected, abs=1e-5)
    assert update.loss.item() == pytest.approx(10 * expected - gap, rel=1e-4, abs=1e-4)


def test_the_slope_is_taken_between_real_and_fake(parts):
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.points = []

        def forward(self, x):
            self.points.append(x.detach())
            return x.sum(1, keepdim=True)

    variant = WGANLP(parts, Config())
    variant.D = Discriminator(nn.Identity(), Seen())
    real, fake = torch.zeros(500, 2), torch.tensor([2.0, 4.0]).expand(500, 2)
    variant.excess(real, fake)
    (points,) = variant.D.head.points
    shares = points / fake
    torch.testing.assert_close(shares[:, 0], shares[:, 1])
    assert shares.min() >= 0 and shares.max() <= 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.05) and float(shares.std()) == pytest.approx(
        12**-0.5, abs=0.03
    )


def test_schedule_defaults_and_options(parts, real, play):
    variant = WGANLP(parts, Config())
    assert variant.period == 5 and [u.player for u in play(variant, real, 20)] == (["D"] * 5 + ["G"]) * 4
    for optimizer in variant.optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.0, 0.9))
    with pytest.raises(UserError, match="penalty"):
        resolve(WGANLP, "wgan-lp", {"penalty": "-1"})
    assert np.isclose(Config().penalty, 10)
