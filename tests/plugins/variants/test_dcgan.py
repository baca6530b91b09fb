"""DCGAN: the networks of figure 1, initial weights, prior, losses by formula, schedule, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.dcgan import DCGAN, Config
from torch import nn

from ganbench import Batch, Clock, DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def build(side=64, channels=3, width=8):
    torch.manual_seed(0)
    return DCGAN(Parts(DataSpec((channels, side, side)), 4), Config(width=width))


def test_the_networks_are_those_of_figure_1():
    variant = build(width=128)
    shapes = [tuple(m.weight.shape) for m in variant.G if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    assert shapes == [(1024 * 16, 100), (1024, 512, 5, 5), (512, 256, 5, 5), (256, 128, 5, 5), (128, 3, 5, 5)]
    shapes = [tuple(m.weight.shape) for m in variant.D if isinstance(m, nn.Linear | nn.Conv2d)]
    assert shapes == [(128, 3, 5, 5), (256, 128, 5, 5), (512, 256, 5, 5), (1024, 512, 5, 5), (1, 1024 * 16)]
    kinds = [type(m).__name__ for m in variant.G]
    assert kinds[-2:] == ["ConvTranspose2d", "Tanh"] and kinds.count("BatchNorm2d") == 4
    kinds = [type(m).__name__ for m in variant.D]
    assert kinds[:2] == ["Conv2d", "LeakyReLU"] and kinds.count("BatchNorm2d") == 3
    assert {m.negative_slope for m in variant.D if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (16, 3), (28, 1), (32, 3), (64, 1), (128, 3)])
def test_images_of_every_size_fit(side, channels):
    variant = build(side, channels, width=2)
    samples = variant.sample(3)
    assert samples.shape == (3, channels, side, side) and variant.judge(samples).shape == (3, 1)
    assert DCGAN.misfit(variant.data) is None


def test_weights_and_latents_are_drawn_as_in_the_paper():
    variant = build(32, width=64)
    weights = torch.cat([p.detach().flatten() for n, p in variant.named_parameters() if p.ndim > 1])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    z = variant.noise(1000)
    assert z.shape == (1000, 100) and -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1


def test_losses_are_the_non_saturating_ones():
    variant = build(8, 1).eval()
    real = torch.rand(6, 1, 8, 8) * 2 - 1
    torch.manual_seed(5)
    z_d, z_g = torch.rand(6, 100) * 2 - 1, torch.rand(6, 100) * 2 - 1

    def on(x):
        return variant.D(x).detach().double().numpy()

    torch.manual_seed(5)
    on_d, on_g = variant.step(Batch(real), Clock(0, torch.zeros(())))
    expected = np.log1p(np.exp(-on(real))).mean() + np.log1p(np.exp(on(variant.G(z_d)))).mean()
    assert (on_d.player, on_g.player) == ("D", "G")
    assert on_d.loss.item() == pytest.approx(expected, rel=1e-5)
    assert on_g.loss.item() == pytest.approx(np.log1p(np.exp(-on(variant.G(z_g)))).mean(), rel=1e-5)


def test_schedule_defaults_and_options(play):
    variant = build(8, 1)
    assert [u.player for u in play(variant, torch.randn(4, 1, 8, 8), 20)] == ["D", "G"] * 20
    for optimizer in variant.optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    with pytest.raises(UserError, match="width"):
        resolve(DCGAN, "dcgan", {"width": "0"})
    assert "images, not data" in DCGAN.misfit(DataSpec((2,))) and "8 to 128" in DCGAN.misfit(DataSpec((1, 4, 4)))
