"""R3GAN: relativistic loss and penalties in closed form, schedules, plain networks, defaults."""

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.r3gan import R3GAN, Block, Config
from torch import nn

from ganbench import Batch, Clock, DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def at(progress: float) -> Clock:
    return Clock(0, torch.tensor(progress))


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.05), (0.05, 0.0275), (0.1, 0.005), (0.7, 0.005)])
def test_losses_of_a_linear_d_are_known(parts, real, perform, affine, progress, weight):
    """Of D(x) = w·x + b each penalty is ½‖w‖²; pairs are of the batch's first half with fakes, then of its second."""
    variant = R3GAN(parts, Config(lr=0.1, last_lr=0.1))
    optimizers = variant.optimizers()
    first, second = real[:4], real[4:]
    torch.manual_seed(5)
    z_d, z_g = torch.randn(4, 3), torch.randn(4, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), at(progress))
    update = next(step)
    square = (variant.D.head.weight.detach().double().numpy() ** 2).sum()
    difference = affine(variant.D.head, first) - affine(variant.D.head, affine(variant.G, z_d))
    expected = np.log1p(np.exp(-difference)).mean() + weight * square
    assert update.player == "D" and update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["r1"].item() == pytest.approx(square / 2, rel=1e-5) == update.log["r2"].item()
    perform(update, optimizers["D"])
    update = next(step)
    difference = affine(variant.D.head, affine(variant.G, z_g)) - affine(variant.D.head, second)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(np.log1p(np.exp(-difference)).mean(), rel=1e-5)


def test_rates_fall_by_a_cosine_over_the_burn_in(parts):
    variant = R3GAN(parts, Config(burn_in=0.2))
    for progress in (0.0, 0.05, 0.1, 0.2, 1.0):
        share = min(1, progress / 0.2)
        expected = 5e-5 + (2e-4 - 5e-5) * 0.5 * (1 + math.cos(math.pi * share))
        rates = variant.schedules(at(progress))
        assert float(rates["G"]["lr_factor"]) * 2e-4 == pytest.approx(expected, rel=1e-5) and rates["D"] == rates["G"]


def test_a_step_is_served_two_batches_and_players_take_turns(parts, real, play):
    variant = R3GAN(parts, Config())
    assert variant.images_per_step(32) == 64
    assert [u.player for u in play(variant, real, 20)] == ["D", "G"] * 20


def build(side=16, channels=3):
    torch.manual_seed(0)
    return R3GAN(Parts(DataSpec((channels, side, side)), 4), Config(width=8))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (12, 3), (28, 1), (32, 3), (64, 3)])
def test_images_of_every_size_fit(side, channels):
    variant = build(side, channels)
    samples = variant.sample(3)
    assert samples.shape == (3, channels, side, side) and variant.judge(samples).shape == (3, 1)


def test_the_networks_are_plain():
    variant = build()
    kinds = {type(m) for m in variant.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Tanh, nn.InstanceNorm2d}
    blocks = [m for m in variant.modules() if isinstance(m, Block)]
    x = torch.randn(2, 8, 4, 4)
    assert len(blocks) == 6 and all(torch.equal(b(x), x) for b in blocks if b.first.in_channels == 8)
    assert all(b.middle.groups == b.middle.in_channels // 16 for b in blocks)


def test_doubling_is_bilinear_inside():
    variant = build()
    x = torch.randn(1, 5, 4, 4)
    kernel = variant.G.bilinear.expand(5, 1, 4, 4)
    found = nn.functional.conv_transpose2d(x, kernel, None, 2, 1, groups=5)
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_samples_for_evaluation_are_cut_off():
    variant = build()
    with torch.no_grad():
        variant.G.changes[-1].weight.mul_(100)
    assert variant.train().sample(4).abs().max() > 1 and variant.eval().sample(4).abs().max() <= 1


def test_defaults_and_options(parts):
    for optimizer in R3GAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.0, 0.99))
    with pytest.raises(UserError, match="burn_in"):
        resolve(R3GAN, "r3gan", {"burn_in": "1"})
    assert "divisible by 4" in R3GAN.misfit(DataSpec((3, 18, 18)))
