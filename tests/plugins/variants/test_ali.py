"""ALI: losses and gradients of a bilinear discriminator by numpy, the optimum, q(z|x), schedule, optimizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.ali import ALI, Config
from joint import Bilinear, LinearParts
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Update, UserError, discriminator_loss
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class Exchanged(ALI):
    """Broken on purpose: D is taught that the generator's pairs are the real ones."""

    def step(self, batch, clock):
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.infer(x).detach(), self.G(z).detach()
        yield Update("D", discriminator_loss(self.D(fake, z), self.D(x, inferred)))


class EncoderForgotten(ALI):
    """Broken on purpose: the pairs of the encoder carry no gradient."""

    def infer(self, x):
        return super().infer(x).detach() + 0 * self.E(x)[:, : self.z_dim].sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(n, deviation):
    """Draw as a player's half step does: latents, then the encoder's noise where it has one."""
    z = torch.randn(n, 3).double().numpy()
    return z, 0 if deviation == "zero" else torch.randn(n, 3).double().numpy()


def check_losses(cls, deviation, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(LinearParts(), Config(lr=0.05, deviation=deviation))
    variant.D = Bilinear(torch.randn(2, 3))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    draws = drawn(8, deviation), drawn(8, deviation)
    x = real.double().numpy()

    def pairs(noise):
        z, epsilon = noise
        code = affine(variant.E, x)
        spread = np.exp(code[:, 3:]) if deviation == "learned" else 1
        weight = variant.D.weight.detach().double().numpy()
        inferred, fake = code[:, :3] + spread * epsilon, affine(variant.G, z)
        return (x @ weight * inferred).sum(1), (fake @ weight * z).sum(1), weight, z

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    of_encoder, of_generator, *_ = pairs(draws[0])
    assert update.player == "D"
    expected = -np.log(sigmoid(of_encoder)).mean() - np.log(1 - sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    of_encoder, of_generator, weight, z = pairs(draws[1])  # D has moved
    assert update.player == "G"
    expected = -np.log(1 - sigmoid(of_encoder)).mean() - np.log(sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["G"])
    slope = (sigmoid(of_encoder)[:, None, None] * np.einsum("nk,nj->nkj", x @ weight, x)).mean(0)
    np.testing.assert_allclose(variant.E.weight.grad[:3].numpy(), slope, rtol=1e-4, atol=1e-6)
    slope = -((1 - sigmoid(of_generator))[:, None, None] * np.einsum("ni,nk->nik", z @ weight.T, z)).mean(0)
    np.testing.assert_allclose(variant.G.weight.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("deviation", ["learned", "unit", "zero"])
def test_losses_and_gradients_are_those_of_the_pairs(deviation, real, perform, affine):
    check_losses(ALI, deviation, real, perform, affine)
    for broken in (Exchanged, EncoderForgotten):
        with pytest.raises(AssertionError):
            check_losses(broken, deviation, real, perform, affine)


def discriminator_step(variant, z_seed, real):
    torch.manual_seed(z_seed)
    loss = next(variant.step(Batch(real), START)).loss
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
    for deviation in ("learned", "unit", "zero"):
        torch.manual_seed(0)
        variant = ALI(LinearParts(), Config(deviation=deviation))
        with torch.no_grad():
            output, codes = variant.E(x[:1])[0], variant.infer(x)
        spread = {"learned": output[3:].exp(), "unit": torch.ones(3), "zero": torch.zeros(3)}[deviation]
        torch.testing.assert_close(codes.mean(0), output[:3], rtol=0, atol=0.03)
        torch.testing.assert_close(codes.std(0), spread, rtol=0.02, atol=1e-6)


def test_the_two_kinds_of_pairs_pass_apart(real, play, seen_by):
    variant = ALI(LinearParts(), Config())
    seen = seen_by(variant.D.of_x)
    list(play(variant, real, 1))
    assert [len(x) for x in seen] == [8] * 4
    assert torch.equal(seen[0], real)
    assert torch.equal(seen[3], real)


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,)))])
def test_the_size_of_the_latent_is_the_backbone_s(backbone, data):
    parts = backbone(data)
    variant = ALI(parts, Config(width=16))
    x = torch.randn(4, *data.shape)
    assert variant.infer(x).shape == (4, parts.z_dim)
    assert variant.D(x, variant.infer(x)).shape == (4, 1)


def test_players_take_turns_and_encoder_and_generator_move_together(real, play):
    torch.manual_seed(0)
    variant = ALI(LinearParts(), Config())
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1
    moved = {name for name, value in variant.state_dict().items() if not torch.equal(value, before[name])}
    assert {"G.weight", "E.weight", "D.of_x.head.weight", "D.of_z.0.weight", "D.of_both.3.weight"} <= moved


def test_defaults():
    variant = ALI(LinearParts(), Config())
    optimizers = variant.optimizers()
    assert set(optimizers) == {"G", "D"}
    for optimizer in optimizers.values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.999))
    assert optimizers["G"].param_groups[0]["params"] == [*variant.G.parameters(), *variant.E.parameters()]
    assert (Config().deviation, Config().width) == ("learned", 512)


@pytest.mark.parametrize("setting", [{"deviation": "0.5"}, {"width": "0"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(ALI, "ali", setting)
