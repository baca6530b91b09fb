"""PacGAN: what a pack is, losses on packs by the definition, images served, prior, schedule, optimizers."""

from __future__ import annotations

from dataclasses import replace

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


class InTurn(PacGAN):
    """Broken on purpose: G answers to a D that has moved."""

    def step(self, batch, clock):
        self.config = replace(self.config, simultaneous=False)
        of_D, of_G = super().step(batch, clock)
        yield from (of_G, of_D)


def check_simultaneous(cls, make, packing, real, perform, affine) -> None:
    """Both losses and both slopes are of the same fakes and of the weights before."""
    torch.manual_seed(0)
    variant = make(cls)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z = torch.randn(len(real), 3).double().numpy()
    packed = real.double().numpy().reshape(-1, 2 * packing)
    fake = affine(variant.G, z).reshape(-1, 2 * packing)
    on_real, on_fake = (affine(variant.D.head, x)[:, 0] for x in (packed, fake))
    head = variant.D.head.weight.detach().double().numpy()[0].reshape(packing, 2)
    believed = 1 / (1 + np.exp(-on_fake))

    torch.manual_seed(5)
    first, second = (update for update in moving(variant, optimizers, real, perform))
    assert first == ("G", pytest.approx(np.log1p(np.exp(-on_fake)).mean(), rel=1e-5))
    expected = np.log1p(np.exp(-on_real)).mean() + np.log1p(np.exp(on_fake)).mean()
    assert second == ("D", pytest.approx(expected, rel=1e-5))
    slope = -((1 - believed)[:, None] * head.sum(0)).mean(0)
    np.testing.assert_allclose(variant.G.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    slope = (1 / (1 + np.exp(on_real)))[:, None] * -packed + believed[:, None] * fake
    np.testing.assert_allclose(variant.D.head.weight.grad.numpy()[0], slope.mean(0), rtol=1e-4, atol=1e-6)


def moving(variant, optimizers, real, perform):
    for update in variant.step(Batch(real), START):
        perform(update, optimizers[update.player])
        yield update.player, update.loss.item()


@pytest.mark.parametrize("packing", [1, 2, 4])
def test_players_that_move_at_once_answer_to_each_other_as_they_were(packing, real, perform, affine):
    config = Config(lr=0.1, packing=packing, simultaneous=True)
    check_simultaneous(PacGAN, lambda cls: cls(WideParts(), config), packing, real, perform, affine)
    with pytest.raises(AssertionError):
        check_simultaneous(InTurn, lambda cls: cls(WideParts(), config), packing, real, perform, affine)


def test_the_plain_gan_moves_at_once_as_well(real, perform, affine):
    config = GANConfig(lr=0.1, simultaneous=True)
    check_simultaneous(GAN, lambda cls: cls(WideParts(), config), 1, real, perform, affine)


def test_the_generator_sees_the_latents_of_the_discriminator_again_if_asked(real, play, seen_by):
    torch.manual_seed(0)
    variant = PacGAN(WideParts(), Config(generator_steps=2, same_latents=True))
    seen = seen_by(variant.G)
    list(play(variant, real, 2))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[3])


def test_each_place_in_the_pack_is_normalised_by_itself_if_asked():
    """Places of a pack are shifted in turn: apart, batch norm takes the shift of each away, together it does not."""
    packed = torch.randn(12, 3).unflatten(0, (4, 3))
    shifted = (packed + 10 * torch.arange(3.0)[:, None]).flatten(0, 1)
    parts, whole = (PacGAN(WideParts(), Config(packing=3, apart=apart)) for apart in (True, False))
    for variant in (parts, whole):
        variant.G = nn.BatchNorm1d(3)
    expected = (packed - packed.mean(0)) / (packed.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(parts.packs(shifted), expected.flatten(0, 1), rtol=1e-4, atol=1e-4)
    assert (whole.packs(shifted) - expected.flatten(0, 1)).abs().max() > 0.5
    assert parts.G.num_batches_tracked == 3 and whole.G.num_batches_tracked == 1


def test_the_generator_can_have_a_rate_of_its_own():
    optimizers = PacGAN(WideParts(), Config(lr=2e-4, generator_lr=1e-4)).optimizers()
    assert {player: optimizer.defaults["lr"] for player, optimizer in optimizers.items()} == {"G": 1e-4, "D": 2e-4}


def test_players_that_move_at_once_move_once():
    with pytest.raises(UserError, match="pacgan: players that move at once move once each, but generator_steps is 2"):
        resolve(PacGAN, "pacgan", {"simultaneous": "true", "generator_steps": "2"})


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
    config = Config()
    assert (config.packing, config.generator_steps, config.prior, config.generator_lr) == (2, 1, "normal", None)
    assert not (config.same_latents or config.simultaneous or config.apart)


@pytest.mark.parametrize("setting", [{"packing": "0"}, {"generator_steps": "0"}, {"prior": "cauchy"}, {"lr": "-1"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(PacGAN, "pacgan", setting)
