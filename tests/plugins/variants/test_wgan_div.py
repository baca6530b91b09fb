"""WGAN-div: the powered slope of a linear critic, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.wgan_div import Config, WGANDiv
from torch import nn

from ganbench import Batch, Clock, DataSpec, UserError
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


def test_the_published_recipe_is_a_matter_of_options(play, seen_by):
    """Real images bear noise, G's batch is twice D's, D has no norm, and rates fall linearly to zero."""
    torch.manual_seed(0)
    options = Config(lr=2e-4, critic_steps=1, decay=True, norm="none", generator_batch=2, dequantise=True)
    variant = WGANDiv(DCGAN()(DataSpec((1, 8, 8))), options)
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
    variant = WGANDiv(parts, Config(critic_steps=1))
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert not variant.schedules(Clock(0, torch.tensor(0.25)))
    assert sum(torch.equal(batch, real) for batch in seen) == 1 and {len(batch) for batch in seen} == {8}


def test_a_norm_that_mixes_samples_is_refused():
    with pytest.raises(UserError, match="norm"):
        resolve(WGANDiv, "wgan-div", {"norm": "batch"})
