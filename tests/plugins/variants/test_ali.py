"""ALI: losses and gradients of a bilinear discriminator by numpy, the optimum, q(z|x), networks, schedule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.backbones.pacgan import PacGAN
from ganbench_plugins.variants.ali import ALI, Config
from joint import Bilinear, LinearParts
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Update, UserError, discriminator_loss
from ganbench.runs.options import resolve
from ganbench.training.networks import SeededParts

START = Clock(0, torch.zeros(()))


class Exchanged(ALI):
    """Broken on purpose: the generator's pairs are the real ones to D, and so the encoder's to G and E."""

    def step(self, batch, clock):
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.infer(x), self.G(z)
        yield Update("G", discriminator_loss(self.D(x, inferred), self.D(fake, z)))
        yield Update("D", discriminator_loss(self.D(fake, z), self.D(x, inferred)))


class InTurn(ALI):
    """Broken on purpose: G and E answer to a D that has moved."""

    def step(self, batch, clock):
        with torch.no_grad():
            self.D.weight.mul_(1.1)
        return super().step(batch, clock)


class EncoderForgotten(ALI):
    """Broken on purpose: the pairs of the encoder carry no gradient."""

    def infer(self, x):
        return super().infer(x).detach() + 0 * self.E.weight.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def check_losses(cls, deviation, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(LinearParts(), Config(lr=0.05, deviation=deviation))
    variant.D = Bilinear(torch.randn(2, 3))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z = torch.randn(8, 3).double().numpy()  # latents first, then the encoder's noise where it has one
    epsilon = 0 if deviation == "zero" else torch.randn(8, 2 if deviation == "input" else 3).double().numpy()
    x = real.double().numpy()
    seen = np.concatenate([x, epsilon], 1) if deviation == "input" else x
    code, weight = affine(variant.E, seen), variant.D.weight.detach().double().numpy()
    spread = {"learned": np.exp(code[:, 3:]), "unit": 1}.get(deviation, 0)
    inferred, fake = code[:, :3] + (spread * epsilon if deviation in ("learned", "unit") else 0), affine(variant.G, z)
    of_encoder, of_generator = (x @ weight * inferred).sum(1), (fake @ weight * z).sum(1)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    assert update.player == "G"
    expected = -np.log(1 - sigmoid(of_encoder)).mean() - np.log(sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["G"])
    slope = (sigmoid(of_encoder)[:, None, None] * np.einsum("nk,nj->nkj", x @ weight, seen)).mean(0)
    np.testing.assert_allclose(variant.E.weight.grad[:3].numpy(), slope, rtol=1e-4, atol=1e-6)
    slope = -((1 - sigmoid(of_generator))[:, None, None] * np.einsum("ni,nk->nik", z @ weight.T, z)).mean(0)
    np.testing.assert_allclose(variant.G.weight.grad.numpy(), slope, rtol=1e-4, atol=1e-6)

    update = next(step)  # of the same pairs, although G and E have moved
    assert update.player == "D"
    expected = -np.log(sigmoid(of_encoder)).mean() - np.log(1 - sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])
    slope = np.einsum("n,ni,nk->ik", sigmoid(of_encoder) - 1, x, inferred) / 8
    slope += np.einsum("n,ni,nk->ik", sigmoid(of_generator), fake, z) / 8
    np.testing.assert_allclose(variant.D.weight.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("deviation", ["learned", "input", "unit", "zero"])
def test_losses_and_gradients_are_those_of_the_pairs(deviation, real, perform, affine):
    check_losses(ALI, deviation, real, perform, affine)
    for broken in (Exchanged, EncoderForgotten, InTurn):
        with pytest.raises(AssertionError):
            check_losses(broken, deviation, real, perform, affine)


def discriminator_step(variant, z_seed, real):
    torch.manual_seed(z_seed)
    loss = list(variant.step(Batch(real), START))[-1].loss
    return loss.item(), torch.autograd.grad(loss, variant.D.weight)[0]


def test_where_the_encoder_inverts_the_generator_no_discriminator_beats_chance():
    """Then both kinds of pairs are the same, D = 0 is optimal and its loss log 4; with another encoder it is not."""
    torch.manual_seed(0)
    variant = ALI(LinearParts(), Config(deviation="zero"))
    variant.D = Bilinear(torch.zeros(2, 3))
    with torch.no_grad():
        variant.G.weight.copy_(torch.eye(2, 3))
        variant.E.weight.copy_(torch.eye(3, 2))
        variant.G.bias.zero_(), variant.E.bias.zero_()
    torch.manual_seed(5)
    z = torch.randn(64, 3)
    real = variant.G(z).detach()
    loss, slope = discriminator_step(variant, 5, real)
    assert loss == pytest.approx(math.log(4))
    torch.testing.assert_close(slope[:, :2], torch.zeros(2, 2), rtol=0, atol=1e-6)
    with torch.no_grad():
        variant.E.weight.neg_()
    _, slope = discriminator_step(variant, 5, real)
    assert slope[0, 0] > 0.5  # D = -x·z tells the pairs (x, -x) from (z, z), and the slope leads there


def test_codes_have_the_deviation_that_the_options_name():
    x = torch.tensor([[0.5, -1.0]]).expand(40_000, 2)
    for deviation in ("learned", "input", "unit", "zero"):
        torch.manual_seed(0)
        variant = ALI(LinearParts(), Config(deviation=deviation))
        with torch.no_grad():
            center = torch.cat([x[:1], torch.zeros(1, 2)], 1) if deviation == "input" else x[:1]
            output, codes = variant.E(center)[0], variant.infer(x)
        spreads = {"learned": output[3:].exp(), "unit": torch.ones(3), "zero": torch.zeros(3)}
        spreads["input"] = variant.E.weight[:, 2:].norm(dim=1)  # of an affine map of N(0, I)
        spread = spreads[deviation].detach()
        torch.testing.assert_close(codes.mean(0), output[:3], rtol=0, atol=0.03)
        torch.testing.assert_close(codes.std(0), spread, rtol=0.02, atol=1e-6)


def test_the_two_kinds_of_pairs_pass_apart(real, play, seen_by):
    variant = ALI(LinearParts(), Config())
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert [len(x) for x in seen] == [8] * 4
    assert torch.equal(seen[0], real) and torch.equal(seen[3], real)
    assert torch.equal(seen[1], seen[2])  # the same fakes


@pytest.mark.parametrize("deviation", ["learned", "input"])
@pytest.mark.parametrize(
    ("backbone", "data"),
    [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,))), (MLP(), DataSpec((1, 8, 8))), (PacGAN(), DataSpec((2,)))],
)
def test_the_size_of_the_latent_is_the_backbone_s(backbone, data, deviation):
    parts = backbone(data)
    variant = ALI(SeededParts(parts, 0), Config(width=16, deviation=deviation))
    x = torch.randn(4, *data.shape)
    assert variant.infer(x).shape == (4, parts.z_dim)
    assert variant.D(x, variant.infer(x)).shape == (4, 1)


def test_encoder_and_generator_move_together(real, play):
    torch.manual_seed(0)
    variant = ALI(LinearParts(), Config())
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    assert [update.player for update in play(variant, real, 20)] == ["G", "D"] * 20
    assert variant.period == 1
    moved = {name for name, value in variant.state_dict().items() if not torch.equal(value, before[name])}
    assert {"G.weight", "E.weight", "D.of_both.head.weight"} <= moved


def test_on_points_the_networks_are_those_of_the_authors_program():
    """D is three maxout layers of x and z together, E two hidden layers of x and as much noise, G four of z."""
    variant = ALI(PacGAN()(DataSpec((2,))), Config(deviation="input"))
    sizes = {name: sum(p.numel() for p in getattr(variant, name).parameters()) for name in "DEG"}
    assert sizes["D"] == (4 + 1) * 1000 + 2 * (200 + 1) * 1000 + 200 + 1
    assert sizes["E"] == 4 * 400 + 400 * 400 + 2 * 2 * 400 + 400 * 2 + 2
    assert sizes["G"] == 2 * 400 + 3 * 400 * 400 + 4 * 2 * 400 + 400 * 2 + 2


def test_on_points_the_discriminator_hears_of_samples_as_of_latents_from_the_start():
    """An embedding of the sample alone would be a hundredth of that of the latent, with weights from N(0, 0.02)."""
    torch.manual_seed(0)
    variant = ALI(PacGAN()(DataSpec((2,))), Config())
    x, z = torch.randn(500, 2), torch.randn(500, 2)
    with torch.no_grad():
        pairs, of_x, of_z = variant.D(x, z), variant.D(x, torch.zeros(500, 2)), variant.D(torch.zeros(500, 2), z)
    assert 0.5 < of_x.std() / of_z.std() < 2
    assert pairs.std() > 1.1 * min(of_x.std(), of_z.std())


def test_on_images_dropout_is_of_the_layers_that_see_the_latent():
    variant = ALI(DCGAN()(DataSpec((1, 8, 8))), Config(width=16))
    x, z = torch.randn(4, 1, 8, 8), variant.noise(4)
    layers = [layer for layer in variant.D.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.5] * 3
    assert not torch.equal(variant.D.of_z(z), variant.D.of_z(z))
    assert torch.equal(variant.D.eval()(x, z), variant.D(x, z))
    plain = ALI(DCGAN()(DataSpec((1, 8, 8))), Config(width=16, dropout=0)).D
    assert not [layer for layer in plain.modules() if isinstance(layer, nn.Dropout)]


def test_defaults():
    variant = ALI(LinearParts(), Config())
    optimizers = variant.optimizers()
    assert set(optimizers) == {"G", "D"}
    for optimizer in optimizers.values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.999))
    assert optimizers["G"].param_groups[0]["params"] == [*variant.G.parameters(), *variant.E.parameters()]
    assert (Config().deviation, Config().width, Config().dropout) == ("learned", 512, 0.5)


@pytest.mark.parametrize("setting", [{"deviation": "0.5"}, {"width": "0"}, {"dropout": "1"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(ALI, "ali", setting)
