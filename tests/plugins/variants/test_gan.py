"""GAN, non-saturating and minimax: losses by the definition with log σ, schedule, optimizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants import gan, gan_minimax
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve
from ganbench.training.networks import SeededParts

BOTH = [(gan, gan.GAN), (gan_minimax, gan_minimax.MinimaxGAN)]
START = Clock(0, torch.zeros(()))


def log_sigmoid(logits):
    return np.log(1 / (1 + np.exp(-logits)))


def generator_loss(name, logits):
    if name == "gan":
        return -log_sigmoid(logits).mean()
    return np.log(1 - 1 / (1 + np.exp(-logits))).mean()


@pytest.mark.parametrize(("module", "cls"), BOTH)
def test_losses_are_the_logarithms_of_the_paper(module, cls, parts, real, perform, affine):
    variant = cls(parts, module.Config(lr=0.1))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real, on_fake = affine(variant.D.head, real), affine(variant.D.head, affine(variant.G, z_d))
    expected = -log_sigmoid(on_real).mean() - np.log(1 - 1 / (1 + np.exp(-on_fake))).mean()
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    on_fake = affine(variant.D.head, affine(variant.G, z_g))  # new latents, and D as it is after its update
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(generator_loss(variant.name, on_fake), rel=1e-5)
    assert next(step, None) is None


@pytest.mark.parametrize(("module", "cls"), BOTH)
def test_players_take_turns(module, cls, parts, real, play):
    variant = cls(parts, module.Config())
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


@pytest.mark.parametrize(("module", "cls"), BOTH)
def test_real_and_fake_pass_through_the_discriminator_apart(module, cls, parts, real, play, seen_by):
    variant = cls(parts, module.Config())
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert [len(batch) for batch in seen] == [8, 8, 8]
    assert torch.equal(seen[0], real)
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize(("module", "cls"), BOTH)
def test_both_players_use_the_adam_of_dcgan(module, cls, parts):
    variant = cls(parts, module.Config())
    optimizers = variant.optimizers()
    assert set(optimizers) == {"G", "D"}
    for player, optimizer in optimizers.items():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
        assert optimizer.param_groups[0]["params"] == list(getattr(variant, player).parameters())


@pytest.mark.parametrize(("module", "cls"), BOTH)
@pytest.mark.parametrize("setting", [{"lr": "0"}, {"lr": "inf"}, {"betas": "0.5,1"}, {"betas": "0.5"}, {"rate": "1"}])
def test_wrong_options_are_refused(module, cls, setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(cls, cls.name, setting)


@pytest.mark.slow
def test_gan_finds_the_modes_of_a_ring(play):
    """Eight Gaussians on the unit circle, σ 0.01; a mode counts when a sample lies within 3σ of it."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    generator = torch.Generator().manual_seed(0)
    variant = gan.GAN(SeededParts(MLP()(DataSpec((2,))), 0), gan.Config())
    optimizers = variant.optimizers()
    torch.manual_seed(0)
    for number in range(3000):
        real = centres[torch.randint(8, (64,), generator=generator)] + 0.01 * torch.randn(64, 2, generator=generator)
        for update in variant.step(Batch(real), Clock(number, torch.zeros(()))):
            optimizer = optimizers[update.player]
            optimizer.zero_grad()
            update.loss.backward(inputs=list(getattr(variant, update.player).parameters()))
            optimizer.step()
    distance, nearest = torch.cdist(variant.eval().sample(2500).detach(), centres).min(1)
    assert len(set(nearest[distance < 0.03].tolist())) >= 5  # 7 or 8 as a rule; 0 or 1 with batch norm in D
