"""BiGAN: losses and gradients of a bilinear discriminator by numpy, inversion, rates, decay, prior, schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.bigan import BiGAN, Config
from joint import Bilinear, LinearParts
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Update, UserError, discriminator_loss
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class Saturating(BiGAN):
    """Broken on purpose: G and E raise D's loss, the objective whose gradient vanishes."""

    def step(self, batch, clock):
        _, of_D = super().step(batch, clock)
        torch.manual_seed(5)
        z = self.noise(len(batch.real))
        yield Update("G", -discriminator_loss(self.D(batch.real, self.E(batch.real)), self.D(self.G(z), z)))
        yield of_D


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def check_losses(cls, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(LinearParts(2), Config(lr=0.05, weight_decay=0))
    variant.D = Bilinear(torch.randn(2, 2))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z, x = torch.rand(8, 2).double().numpy() * 2 - 1, real.double().numpy()
    weight = variant.D.weight.detach().double().numpy()
    code, fake = affine(variant.E, x), affine(variant.G, z)
    of_encoder, of_generator = (x @ weight * code).sum(1), (fake @ weight * z).sum(1)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    assert update.player == "G"
    expected = -np.log(1 - sigmoid(of_encoder)).mean() - np.log(sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["G"])
    slope = (sigmoid(of_encoder)[:, None] * (x @ weight)).mean(0)
    np.testing.assert_allclose(variant.E.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    slope = -((1 - sigmoid(of_generator))[:, None] * (z @ weight.T)).mean(0)
    np.testing.assert_allclose(variant.G.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-6)

    update = next(step)  # of the same pairs, although G and E have moved
    assert update.player == "D"
    expected = -np.log(sigmoid(of_encoder)).mean() - np.log(1 - sigmoid(of_generator)).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])
    slope = np.einsum("n,ni,nk->ik", sigmoid(of_encoder) - 1, x, code) / 8
    slope += np.einsum("n,ni,nk->ik", sigmoid(of_generator), fake, z) / 8
    np.testing.assert_allclose(variant.D.weight.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


def test_losses_and_gradients_are_those_of_the_pairs(real, perform, affine):
    check_losses(BiGAN, real, perform, affine)
    with pytest.raises(AssertionError):
        check_losses(Saturating, real, perform, affine)


def test_encoder_and_generator_turn_towards_each_other(perform):
    """E halves, G is the identity: pairs (x, x/2) and (z, z). D finds the rest of E's code, and E is led to it.

    D = c x·z sees a product of E[x·x]/2 in the encoder's pairs and of E[z·z] in the generator's, so c becomes negative,
    and lowering D's view of the encoder's pairs then means larger codes; G's images shrink.
    """
    torch.manual_seed(0)
    variant = BiGAN(LinearParts(2), Config(lr=0.1, weight_decay=0))
    variant.D = Bilinear(torch.zeros(2, 2))
    with torch.no_grad():
        variant.G.weight.copy_(torch.eye(2))
        variant.E.weight.copy_(torch.eye(2) / 2)
        variant.G.bias.zero_(), variant.E.bias.zero_()
    optimizers = variant.optimizers()
    for _ in range(2):  # the D of the first step leads G and E in the second
        for update in variant.step(Batch(torch.rand(512, 2) * 2 - 1), START):
            perform(update, optimizers[update.player])
    assert variant.D.weight.diagonal().max() < 0
    assert variant.E.weight.diagonal().min() > 0.5
    assert variant.G.weight.diagonal().max() < 1


@pytest.mark.parametrize(("progress", "factor"), [(0, 1), (0.5, 1), (0.75, 0.1), (1, 0.01)])
def test_rates_decay_exponentially_over_the_second_half(progress, factor):
    rates = BiGAN(LinearParts(2), Config()).schedules(Clock(7, torch.tensor(float(progress))))
    assert set(rates) == {"G", "D"}
    assert all(float(rate["lr_factor"]) == pytest.approx(factor) for rate in rates.values())
    constant = BiGAN(LinearParts(2), Config(final_rate=1)).schedules(Clock(7, torch.tensor(float(progress))))
    assert all(float(rate["lr_factor"]) == 1 for rate in constant.values())


def test_only_weights_decay():
    torch.manual_seed(0)
    variant = BiGAN(DCGAN()(DataSpec((1, 8, 8))), Config(width=8))
    for player, networks in (("G", (variant.G, variant.E)), ("D", (variant.D,))):
        decaying, others = variant.optimizers()[player].param_groups
        assert (decaying["weight_decay"], others["weight_decay"]) == (2.5e-5, 0)
        own = {p for network in networks for p in network.parameters()}
        assert own == {*decaying["params"], *others["params"]}
        assert decaying["params"] == [p for network in networks for p in network.parameters() if p.ndim > 1]


def test_latents_are_uniform_on_the_cube():
    z = BiGAN(LinearParts(2), Config()).noise(20_000)
    assert z.abs().max() <= 1
    torch.testing.assert_close(z.var(0), torch.full((2,), 1 / 3), rtol=0, atol=0.01)


def test_codes_have_no_noise():
    variant = BiGAN(LinearParts(2), Config())
    assert torch.equal(variant.E(torch.ones(1, 2)), variant.E(torch.ones(1, 2)))
    assert variant.E(torch.ones(1, 2)).shape == (1, 2)


def test_encoder_and_generator_move_together(real, play):
    torch.manual_seed(0)
    variant = BiGAN(LinearParts(2), Config())
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    assert [update.player for update in play(variant, real, 20)] == ["G", "D"] * 20
    assert variant.period == 1
    moved = {name for name, value in variant.state_dict().items() if not torch.equal(value, before[name])}
    assert {"G.weight", "E.weight", "D.of_both.head.weight"} <= moved


def test_defaults():
    for optimizer in BiGAN(LinearParts(2), Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().final_rate, Config().weight_decay, Config().width) == (0.01, 2.5e-5, 512)


@pytest.mark.parametrize("setting", [{"final_rate": "0"}, {"weight_decay": "-1"}, {"width": "0"}, {"lr": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(BiGAN, "bigan", setting)
