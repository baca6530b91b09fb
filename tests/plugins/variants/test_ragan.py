"""RaGAN: each loss on means by hand, symmetry of the players, schedule, options."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.ragan import Config, RaGAN
from torch import nn

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

OF = {
    "cross-entropy": lambda a, b: np.log1p(np.exp(-a)).mean() + np.log1p(np.exp(b)).mean(),
    "hinge": lambda a, b: np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean(),
    "squares": lambda a, b: ((a - 1) ** 2).mean() + ((b + 1) ** 2).mean(),
}


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("loss", OF)
def test_losses_compare_with_means(parts, real, perform, affine, loss, halved):
    variant = RaGAN(parts, Config(loss=loss, halved=halved, lr=0.1))
    optimizers, factor = variant.optimizers(), 0.5 if halved else 1
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, affine(variant.G, z_d))
    expected = factor * OF[loss](on_real - on_fake.mean(), on_fake - on_real.mean())
    assert update.player == "D" and update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])
    update = next(step)
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, affine(variant.G, z_g))
    expected = factor * OF[loss](on_fake - on_real.mean(), on_real - on_fake.mean())
    assert update.player == "G" and update.loss.item() == pytest.approx(expected, rel=1e-5)


def test_g_learns_from_real_samples_too(parts, real):
    """The mean of D(G(z)) stands beside D(x): with D saturated on fakes, real samples still move G."""
    variant = RaGAN(parts, Config())
    with torch.no_grad():
        variant.D.head.weight.fill_(1.0)
    *_, update = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update.loss.backward()
    slopes = variant.G.bias.grad.numpy()
    assert np.abs(slopes).min() > 0 and slopes[0] == pytest.approx(slopes[1], rel=1e-5)


def test_schedule_and_options(parts, real, play):
    assert [u.player for u in play(RaGAN(parts, Config()), real, 20)] == ["D", "G"] * 20
    for optimizer in RaGAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    with pytest.raises(UserError, match="halved"):
        resolve(RaGAN, "ragan", {"halved": "half"})


@pytest.mark.parametrize(("norm", "normalised", "mixes"), [("batch", False, True), ("spectral", True, False)])
def test_the_norm_of_d_is_an_option(norm, normalised, mixes):
    torch.manual_seed(0)
    variant = RaGAN(DCGAN()(DataSpec((1, 16, 16))), Config(norm=norm))
    layers = [layer for layer in variant.D.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert {nn.utils.parametrize.is_parametrized(layer) for layer in layers} == {normalised}
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in variant.D.modules()) == mixes
    assert Config().norm == "batch"
