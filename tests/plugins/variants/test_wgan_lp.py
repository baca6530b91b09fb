"""WGAN-LP: the penalty is one-sided, its value for a linear critic, where it is taken, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.wgan_lp import WGANLP, Config
from torch import nn

from ganbench import Batch, Clock, DataSpec, Discriminator, UserError
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


def test_the_published_recipe_is_a_matter_of_options(play, seen_by):
    """Real images bear noise, G's batch is twice D's, D has no norm, and rates fall linearly to zero."""
    torch.manual_seed(0)
    options = Config(lr=2e-4, critic_steps=1, decay=True, norm="none", generator_batch=2, dequantise=True)
    variant = WGANLP(DCGAN()(DataSpec((1, 8, 8))), options)
    assert not [layer for layer in variant.D.modules() if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]
    real, seen = torch.full((6, 1, 8, 8), 17 / 127.5 - 1), seen_by(variant.D)
    list(play(variant, real, 1))
    assert sorted(len(batch) for batch in seen) == [6, 6, 6, 12]
    (noisy,) = [batch for batch in seen if batch.std() < 0.01]  # all of one level; it was D's real batch
    above = noisy * 128 + 128 - 17
    assert -1e-3 <= above.min() < 0.1 and 0.9 < above.max() <= 1 + 1e-3
    rates = variant.schedules(Clock(0, torch.tensor(0.25)))
    assert {player: float(values["lr"]) for player, values in rates.items()} == pytest.approx(
        {"G": 1.5e-4, "D": 1.5e-4}
    )


def test_rates_are_constant_and_images_as_they_are_unless_asked_otherwise(parts, real, play, seen_by):
    variant = WGANLP(parts, Config(critic_steps=1))
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert not variant.schedules(Clock(0, torch.tensor(0.25)))
    assert sum(torch.equal(batch, real) for batch in seen) == 1 and {len(batch) for batch in seen} == {8}


def test_a_norm_that_mixes_samples_is_refused():
    with pytest.raises(UserError, match="norm"):
        resolve(WGANLP, "wgan-lp", {"norm": "batch"})
