"""RGAN: each loss on pairs by hand, who gets a gradient, schedule, options."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.rgan import RGAN, Config
from torch import nn

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

OF = {
    "cross-entropy": lambda d: np.log1p(np.exp(-d)),
    "hinge": lambda d: np.maximum(0, 1 - d),
    "squares": lambda d: (d - 1) ** 2,
}


@pytest.mark.parametrize("loss", OF)
def test_losses_compare_pairs(parts, real, perform, affine, loss):
    variant = RGAN(parts, Config(loss=loss, lr=0.1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    difference = affine(variant.D.head, real) - affine(variant.D.head, affine(variant.G, z_d))
    assert update.player == "D" and update.loss.item() == pytest.approx(OF[loss](difference).mean(), rel=1e-5)
    perform(update, optimizers["D"])
    update = next(step)
    difference = affine(variant.D.head, affine(variant.G, z_g)) - affine(variant.D.head, real)
    assert update.player == "G" and update.loss.item() == pytest.approx(OF[loss](difference).mean(), rel=1e-5)


def test_a_shift_of_d_changes_nothing(parts, real):
    variant, losses = RGAN(parts, Config()), []
    for shift in (0.0, 5.0):
        with torch.no_grad():
            variant.D.head.bias.fill_(shift)
        torch.manual_seed(0)
        losses.append([update.loss.item() for update in variant.step(Batch(real), Clock(0, torch.zeros(())))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_schedule_defaults_and_options(parts, real, play):
    assert [u.player for u in play(RGAN(parts, Config()), real, 20)] == ["D", "G"] * 20
    assert [u.player for u in play(RGAN(parts, Config(critic_steps=2)), real, 20)] == ["D", "D", "G"] * 10
    for optimizer in RGAN(parts, Config()).optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    with pytest.raises(UserError, match="loss"):
        resolve(RGAN, "rgan", {"loss": "none"})


@pytest.mark.parametrize(("norm", "normalised", "mixes"), [("batch", False, True), ("spectral", True, False)])
def test_the_norm_of_d_is_an_option(norm, normalised, mixes):
    torch.manual_seed(0)
    variant = RGAN(DCGAN()(DataSpec((1, 16, 16))), Config(norm=norm))
    layers = [layer for layer in variant.D.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert {nn.utils.parametrize.is_parametrized(layer) for layer in layers} == {normalised}
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in variant.D.modules()) == mixes
    assert Config().norm == "batch"
