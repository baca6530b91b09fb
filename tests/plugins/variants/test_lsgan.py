"""LSGAN: squared errors by hand, both outputs, targets, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.lsgan import LSGAN, Config
from torch.optim import Adam

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve

PEARSON = {"fake_target": -1.0, "real_target": 1.0, "generator_target": 0.0}


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize(("targets", "a", "b", "c"), [({}, 0, 1, 1), (PEARSON, -1, 1, 0)])
def test_losses_are_half_squared_distances_to_the_targets(output, targets, a, b, c, parts, real, perform, affine):
    variant = LSGAN(parts, Config(lr=0.1, output=output, **targets))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def outputs(x):
        raw = affine(variant.D.head, x)
        return raw if output == "linear" else 1 / (1 + np.exp(-raw))

    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(0, torch.zeros(())))
    update = next(step)
    on_real, on_fake = outputs(real), outputs(affine(variant.G, z_d))
    assert update.loss.item() == pytest.approx(
        (sum((on_real - b) ** 2) + sum((on_fake - a) ** 2)).item() / 16, rel=1e-5
    )
    perform(update, optimizers["D"])

    update = next(step)
    on_fake = outputs(affine(variant.G, z_g))
    assert update.loss.item() == pytest.approx(sum((on_fake - c) ** 2).item() / 16, rel=1e-5)


def test_the_output_is_linear_unless_asked_otherwise():
    assert Config().output == "linear"


def test_players_take_turns(parts, real, play):
    variant = LSGAN(parts, Config())
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


def test_real_and_fake_pass_through_the_discriminator_apart(parts, real, play, seen_by):
    variant = LSGAN(parts, Config())
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert [len(batch) for batch in seen] == [8, 8, 8]
    assert torch.equal(seen[0], real)


def test_both_players_use_adam(parts):
    for optimizer in LSGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.5, 0.999))


@pytest.mark.parametrize(
    "setting", [{"output": "tanh"}, {"real_target": "NaN"}, {"fake_target": "-Infinity"}, {"lr": "-1"}]
)
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(LSGAN, "lsgan", setting)


def test_targets_can_be_set():
    config = resolve(LSGAN, "lsgan", {"fake_target": "-1", "generator_target": "0"})
    assert (config.fake_target, config.real_target, config.generator_target) == (-1, 1, 0)
