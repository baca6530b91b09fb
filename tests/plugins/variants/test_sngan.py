"""SNGAN: weights of unit norm, both losses by hand, schedule, rates, defaults."""

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.sngan import SNGAN, Config
from torch import nn

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve


def test_every_weight_of_d_comes_to_a_largest_singular_value_of_one():
    torch.manual_seed(0)
    variant = SNGAN(DCGAN()(DataSpec((1, 8, 8))), Config())
    for _ in range(50):
        variant.D(torch.randn(2, 1, 8, 8))
    layers = [layer for layer in variant.D.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) >= 3
    for layer in layers:
        largest = np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2)
        assert largest == pytest.approx(1, rel=0.02)
    assert not [m for m in variant.G.modules() if nn.utils.parametrize.is_parametrized(m)]


@pytest.mark.parametrize("loss", ["hinge", "nonsaturating"])
def test_losses_are_those_of_the_paper(parts, real, perform, affine, loss):
    variant = SNGAN(parts, Config(loss=loss, critic_steps=1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)
    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, affine(variant.G, z_d))
    if loss == "hinge":
        expected = np.maximum(0, 1 - on_real).mean() + np.maximum(0, 1 + on_fake).mean()
    else:
        expected = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])
    on_fake = affine(variant.D.head, affine(variant.G, z_g))
    expected = -on_fake.mean() if loss == "hinge" else np.log1p(np.exp(-on_fake)).mean()
    assert next(step).loss.item() == pytest.approx(expected, rel=1e-5)


def test_schedule_rates_and_defaults(parts, real, play):
    variant = SNGAN(parts, Config())
    assert variant.period == 5 and [u.player for u in play(variant, real, 20)] == (["D"] * 5 + ["G"]) * 4
    rates = {player: float(values["lr"]) for player, values in variant.schedules(Clock(0, torch.tensor(0.25))).items()}
    assert rates == pytest.approx({"G": 1.5e-4, "D": 1.5e-4})
    assert not SNGAN(parts, Config(decay=False)).schedules(Clock(0, torch.tensor(0.25)))
    for optimizer in variant.optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.0, 0.9))


@pytest.mark.parametrize("setting", [{"loss": "wasserstein"}, {"decay": "maybe"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(SNGAN, "sngan", setting)


def test_g_s_batch_and_noise_are_options(play, seen_by):
    torch.manual_seed(0)
    variant = SNGAN(DCGAN()(DataSpec((1, 8, 8))), Config(critic_steps=1, generator_batch=2, dequantise=True))
    real, seen = torch.full((6, 1, 8, 8), 17 / 127.5 - 1), seen_by(variant.D)
    list(play(variant, real, 1))
    assert [len(batch) for batch in seen] == [6, 6, 12]
    above = seen[0] * 128 + 128 - 17
    assert -1e-3 <= above.min() < 0.1 and 0.9 < above.max() <= 1 + 1e-3
    plain = SNGAN(DCGAN()(DataSpec((1, 8, 8))), Config(critic_steps=1))
    seen = seen_by(plain.D)
    list(play(plain, real, 1))
    assert torch.equal(seen[0], real) and [len(batch) for batch in seen] == [6, 6, 6]
