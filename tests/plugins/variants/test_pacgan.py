"""PacGAN: what a pack is, losses on packs by the definition, images served, prior, schedule, optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.gan import GAN, Config as GANConfig
from ganbench_plugins.variants.pacgan import Config, PacGAN
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, Parts, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class WideParts(Parts):
    """Linear networks whose discriminator is as wide as it is asked to be."""

    def __init__(self):
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(self.z_dim, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Identity(), nn.Linear(channels or 2, outputs))


class Doubled(PacGAN):
    """Broken on purpose: a pack is one sample repeated."""

    def judge(self, x):
        return self.D(x.repeat_interleave(self.config.packing, 0).unflatten(0, (-1, self.config.packing)).flatten(1, 2))


def check_losses(cls, packing, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(WideParts(), Config(lr=0.1, packing=packing))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(len(real), 3), torch.randn(len(real), 3)

    def packs(x):  # neighbours side by side, one pack a row
        return np.stack([np.concatenate(list(x[i : i + packing])) for i in range(0, len(x), packing)])

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real = affine(variant.D.head, packs(real.numpy()))
    on_fake = affine(variant.D.head, packs(affine(variant.G, z_d)))
    assert update.player == "D"
    expected = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    on_fake = affine(variant.D.head, packs(affine(variant.G, z_g)))
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(np.log1p(np.exp(-on_fake)).mean(), rel=1e-5)
    assert next(step, None) is None


@pytest.mark.parametrize("packing", [1, 2, 4])
def test_losses_are_those_of_the_gan_on_packs(packing, real, perform, affine):
    check_losses(PacGAN, packing, real, perform, affine)
    if packing > 1:
        with pytest.raises(AssertionError):
            check_losses(Doubled, packing, real, perform, affine)


def test_a_pack_of_one_is_the_plain_gan(real, play):
    torch.manual_seed(0)
    data = DataSpec((2,))
    packed, plain = PacGAN(MLP()(data), Config(packing=1)), GAN(MLP()(data), GANConfig())
    plain.load_state_dict(packed.state_dict())
    for variant in (packed, plain):
        torch.manual_seed(1)
        list(play(variant, real, 3))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in packed.state_dict().items())


def test_a_discriminator_that_compares_sees_collapse_only_in_packs():
    """All fakes are one point, the mean of the data: no linear D tells them apart, and a spread within packs does."""
    variant = PacGAN(WideParts(), Config(packing=2))
    variant.D = Discriminator(nn.Identity(), Spread())
    torch.manual_seed(0)
    real, collapsed = torch.randn(400, 2), torch.zeros(400, 2)
    assert variant.judge(collapsed).abs().max() == 0
    assert variant.judge(real).mean().item() == pytest.approx(4, rel=0.2)  # E ‖x - y‖² of N(0, I) in two dimensions


class Spread(nn.Module):
    """The squared distance between the two samples of a pack."""

    def forward(self, x):
        return (x[:, :2] - x[:, 2:]).square().sum(1, keepdim=True)


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,)))])
@pytest.mark.parametrize("packing", [1, 3])
def test_only_the_first_layer_grows(backbone, data, packing):
    variant = PacGAN(backbone(data), Config(packing=packing))
    single = backbone(data).discriminator(norm="batch")
    sizes, single_sizes = [[p.shape for p in network.parameters()] for network in (variant.D, single)]
    first, single_first = sizes.pop(0), single_sizes.pop(0)
    assert sizes == single_sizes
    assert first[1] == packing * single_first[1]
    assert variant.judge(torch.randn(6, *data.shape)).shape == (6 // packing, 1)


def test_the_batch_counts_packs():
    assert PacGAN(WideParts(), Config(packing=3)).images_per_step(64) == 192
    assert PacGAN(WideParts(), Config()).images_per_step(64) == 128


def test_a_pack_of_images_joins_their_channels():
    variant = PacGAN(DCGAN()(DataSpec((3, 8, 8))), Config(packing=2))
    seen = []
    variant.D.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(4, 3, 8, 8)
    variant.judge(x)
    assert torch.equal(seen[0], torch.stack([torch.cat([x[0], x[1]]), torch.cat([x[2], x[3]])]))


def test_prior():
    torch.manual_seed(0)
    normal, uniform = (PacGAN(WideParts(), Config(prior=prior)).noise(20_000) for prior in ("normal", "uniform"))
    torch.testing.assert_close(normal.var(0), torch.ones(3), rtol=0, atol=0.05)
    torch.testing.assert_close(uniform.var(0), torch.full((3,), 1 / 3), rtol=0, atol=0.01)
    assert uniform.abs().max() <= 1


@pytest.mark.parametrize("steps", [1, 2])
def test_players_take_turns(steps, real, play):
    variant = PacGAN(WideParts(), Config(generator_steps=steps))
    assert [update.player for update in play(variant, real, 20)] == ["D", *["G"] * steps] * 20
    assert variant.period == 1


def test_defaults():
    for optimizer in PacGAN(WideParts(), Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().packing, Config().generator_steps, Config().prior) == (2, 1, "normal")


@pytest.mark.parametrize("setting", [{"packing": "0"}, {"generator_steps": "0"}, {"prior": "cauchy"}, {"lr": "-1"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(PacGAN, "pacgan", setting)
