"""DualGAN: losses in closed form, clipped and penalised critics, schedule, dropout as noise."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.dualgan import Config, DualGAN, UNet, critic, norm_of_images
from torch import nn
from torch.optim import RMSprop
from translators import D_SOURCE, D, F, G, arrays, batch_of, clock, judged, play_pairs, simple

from ganbench import DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def gap_of(batch):
    y, x = arrays(batch)
    forth = judged(y, D).mean() - judged(G * x, D).mean()
    return forth + judged(x, D_SOURCE).mean() - judged(F * y, D_SOURCE).mean()


def test_losses_are_those_of_the_paper():
    batch = batch_of()
    y, x = arrays(batch)
    variant = simple(DualGAN, Config(critic_steps=1, reconstruction=300))
    on_d, on_g = variant.step(batch, clock())
    assert on_d.player == "D" and on_d.loss.item() == pytest.approx(-gap_of(batch), rel=1e-4)
    back = abs(F * G - 1) * (np.abs(x).mean() + np.abs(y).mean())
    fooled = judged(G * x, D).mean() + judged(F * y, D_SOURCE).mean()
    assert on_g.player == "G" and on_g.loss.item() == pytest.approx(300 * back - fooled, rel=1e-5)


def test_the_penalty_of_critics_of_the_mean_is_known():
    """The gradient of w·mean + b over 64 pixels is w/64 in each, so its norm is |w|/8."""
    batch = batch_of()
    variant = simple(DualGAN, Config(lipschitz="penalty", penalty=10))
    on_d = next(variant.step(batch, clock()))
    penalty = sum((abs(judge[0]) / 8 - 1) ** 2 for judge in (D, D_SOURCE))
    assert on_d.loss.item() == pytest.approx(10 * penalty - gap_of(batch), rel=1e-4)
    assert on_d.log["penalty"].item() == pytest.approx(penalty, rel=1e-4)


def test_critics_are_clipped_after_their_updates_only_where_asked():
    clipped, free = simple(DualGAN, Config()), simple(DualGAN, Config(lipschitz="penalty"))
    for variant in (clipped, free):
        list(play_pairs(variant, 1))
    judges = [*clipped.D.parameters(), *clipped.D_source.parameters()]
    assert all(float(p.detach().abs()) <= 0.01 + 1e-9 for p in judges)
    assert float(free.D.weight.detach()) > 1 and float(clipped.G.factor.detach()) == pytest.approx(G)


def test_three_critic_updates_go_before_each_of_the_translators():
    variant = simple(DualGAN, Config())
    assert variant.period == 3
    assert [u.player for u in play_pairs(variant, 20)] == (["D", "D", "D", "G"] * 7)[:26]


def test_dropout_is_noise_also_when_sampling():
    torch.manual_seed(0)
    network = UNet(1, 4, 16).eval()
    x = torch.randn(2, 1, 16, 16)
    torch.manual_seed(1)
    first, second = network(x), network(x)
    torch.manual_seed(1)
    assert torch.equal(first, network(x)) and not torch.equal(first, second)


@pytest.mark.parametrize("side", [8, 12, 28, 32, 64])
def test_networks_fit_the_size(side):
    x = torch.randn(2, 3, side, side)
    assert UNet(3, 2, side)(x).shape == x.shape and UNet(3, 2, side)(x).abs().max() <= 1
    assert critic(3, 2, side)(x).shape[:2] == (2, 1)


@pytest.mark.parametrize("lipschitz", ["clip", "penalty"])
def test_norms_are_of_single_images_whatever_the_batch(lipschitz):
    torch.manual_seed(0)
    variant = DualGAN(Parts(DataSpec((1, 16, 16), "translate"), 4), Config(width=4, lipschitz=lipschitz))
    x = torch.randn(6, 1, 16, 16)
    for network in (variant.D, variant.D_source):
        torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(network(x), network.eval()(x), msg="nothing is remembered for sampling")
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in variant.modules())
    norms = [m for m in variant.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 2 * (2 + 2) + 2 * 1, "all layers but the first and the last"


def test_a_norm_is_that_of_the_program():
    torch.manual_seed(0)
    norm, x = norm_of_images(3), 5 + 2 * torch.randn(4, 3, 6, 6)
    pixels = x.double().numpy()
    scaled = (pixels - pixels.mean((2, 3), keepdims=True)) / np.sqrt(pixels.var((2, 3), keepdims=True) + 1e-6)
    expected = scaled * norm.weight.detach().double().numpy()[:, None, None]
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    weights = norm_of_images(10_000).weight
    assert weights.mean().item() == pytest.approx(1, abs=1e-3) and weights.std().item() == pytest.approx(0.02, rel=0.05)


def test_samples_go_both_ways():
    variant, (y, x) = simple(DualGAN, Config()), batch_of()
    assert torch.equal(variant.sample(6, x), x * variant.G.factor)
    assert torch.equal(variant.sample(6, y, reverse=True), y * variant.F.factor)


def test_defaults_and_options():
    for optimizer in simple(DualGAN, Config()).optimizers().values():
        assert type(optimizer) is RMSprop
        assert (optimizer.defaults["lr"], optimizer.defaults["alpha"]) == (5e-5, 0.9)
    assert (Config().reconstruction, Config().critic_steps, Config().clip) == (500, 3, 0.01)
    with pytest.raises(UserError, match="lipschitz"):
        resolve(DualGAN, "dualgan", {"lipschitz": "none"})
    assert "divisible by 4" in DualGAN.misfit(DataSpec((1, 10, 10), "translate"))
