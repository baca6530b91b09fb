"""DFM: losses and gradients of linear features and a linear denoiser by numpy, the optimum, noise, schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.dfm import DFM, Config
from ganbench_plugins.variants.gan import GAN, Config as GANConfig
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, Parts, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class LinearParts(Parts):
    """Affine maps; the discriminator has four features."""

    def __init__(self):
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(self.z_dim, 2)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Linear(2, 4), nn.Linear(4, outputs))


class ThroughTheDenoiser(DFM):
    """Broken on purpose: the denoised features carry a gradient, as in a public program."""

    def constant(self, network, x):
        return network(x) if network is self.R else super().constant(network, x)


class NoNoise(DFM):
    """Broken on purpose: features are not corrupted."""

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if update.player == "R":
                features = self.constant(self.D.trunk, batch.real)
                update = type(update)("R", (self.R(features) - features).square().mean())
            yield update


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def check_losses(cls, real, perform, affine) -> None:
    torch.manual_seed(0)
    config = Config(lr=0.05, denoising=0.7, adversarial=0.4, corruption=0.5, final_corruption=0.1)
    variant = cls(LinearParts(), config)
    variant.D.trunk, variant.D.head, variant.R = nn.Linear(2, 4), nn.Linear(4, 1), nn.Linear(4, 4)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, epsilon, z_g = (torch.randn(8, size).double().numpy() for size in (3, 4, 3))

    torch.manual_seed(5)
    step = variant.step(Batch(real), Clock(3, torch.tensor(0.25)))
    update = next(step)
    on_real, on_fake = (affine(variant.D.head, affine(variant.D.trunk, x)) for x in (real, affine(variant.G, z_d)))
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-log_sigmoid(on_real).mean() - log_sigmoid(-on_fake).mean(), rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    features = affine(variant.D.trunk, real)
    expected = ((affine(variant.R, features + 0.4 * epsilon) - features) ** 2).mean()  # 0.5 + (0.1 - 0.5) / 4
    assert update.player == "R"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["R"])

    update = next(step)
    features = affine(variant.D.trunk, affine(variant.G, z_g))
    gap = features - affine(variant.R, features)
    logits = affine(variant.D.head, features)
    assert update.player == "G"
    expected = -0.4 * log_sigmoid(logits).mean() + 0.7 * (gap**2).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["distance"].item() == pytest.approx((gap**2).mean(), rel=1e-5)
    perform(update, optimizers["G"])
    head, trunk = (layer.weight.detach().double().numpy() for layer in (variant.D.head, variant.D.trunk))
    slope = (-0.4 * (1 - np.exp(log_sigmoid(logits))) * head + 0.7 * 2 * gap / 4) @ trunk  # along φ - r(φ)
    np.testing.assert_allclose(variant.G.bias.grad.numpy(), slope.mean(0), rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


def test_losses_and_gradients_are_those_of_the_paper(real, perform, affine):
    check_losses(DFM, real, perform, affine)
    for broken in (ThroughTheDenoiser, NoNoise):
        with pytest.raises(AssertionError):
            check_losses(broken, real, perform, affine)


def test_the_best_denoiser_points_along_the_slope_of_the_log_density(perform):
    """Of features N(0, s²) with noise σ it is φ · s²/(s² + σ²), so that r(φ) - φ = σ² ∇ log N(φ; 0, s² + σ²)."""
    torch.manual_seed(0)
    variant = DFM(LinearParts(), Config(corruption=0.5, final_corruption=0.5))
    variant.D.trunk = nn.Linear(2, 2)
    variant.R = nn.Linear(2, 2)
    with torch.no_grad():
        variant.D.trunk.weight.copy_(torch.eye(2))
        variant.R.weight.copy_(torch.eye(2) * 4 / 4.25)
        for layer in (variant.D.trunk, variant.R):
            layer.bias.zero_()
    variant.D.head = nn.Linear(2, 1)
    step = variant.step(Batch(2 * torch.randn(200_000, 2)), START)
    next(step)
    slopes = torch.autograd.grad(next(step).loss, [variant.R.weight, variant.R.bias])
    for slope in slopes:
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=0.02)


def test_neither_the_discriminator_nor_its_features_are_trained_by_the_denoiser(real, play):
    """D and G are those of the plain GAN where G's second term has no weight; the denoiser draws noise of its own."""
    torch.manual_seed(0)
    variant, plain = DFM(LinearParts(), Config(denoising=0, width=4, depth=2)), GAN(LinearParts(), GANConfig(lr=1e-4))
    variant.D = LinearParts().discriminator()
    plain.load_state_dict({name: value for name, value in variant.state_dict().items() if name[0] != "R"})
    torch.manual_seed(1)
    first = next(play(variant, real, 1))
    torch.manual_seed(1)
    second = next(play(plain, real, 1))
    assert first.player == second.player == "D"
    for name, value in plain.D.state_dict().items():
        assert torch.equal(value, variant.D.state_dict()[name])
    before = {name: value.clone() for name, value in variant.D.state_dict().items()}
    step = variant.step(Batch(real), START)
    optimizers = variant.optimizers()
    next(step)  # the discriminator's update, not performed
    for update in step:
        optimizers[update.player].zero_grad()
        update.loss.backward(inputs=list(getattr(variant, update.player).parameters()))
        optimizers[update.player].step()
    assert all(torch.equal(value, before[name]) for name, value in variant.D.state_dict().items())


def test_noise_goes_in_a_straight_line_over_the_budget(real):
    """Where r is zero its loss does not depend on the noise; where r is the identity it is the noise's variance."""
    variant = DFM(LinearParts(), Config(corruption=1.0, final_corruption=0.2))
    variant.R = nn.Identity()
    variant.D.trunk.requires_grad_(False)
    for progress, deviation in ((0, 1.0), (0.5, 0.6), (1, 0.2)):
        step = variant.step(Batch(real.repeat(2000, 1)), Clock(0, torch.tensor(float(progress))))
        next(step)
        assert next(step).loss.item() ** 0.5 == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("backbone", [MLP(), DCGAN()])
def test_the_denoiser_is_nowhere_narrower_than_the_features(backbone):
    """The backbones have 256 and 6,272 of their own; on both stand 1,024 that are linear in these."""
    variant = DFM(backbone(DataSpec((1, 28, 28))), Config())
    x = torch.randn(4, 1, 28, 28)
    assert variant.D.trunk(x).shape == (4, 1024) and variant.D(x).shape == (4, 1)
    linear = [layer for layer in variant.R if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [1024] * 11
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in variant.R) == 10


def test_features_are_as_large_as_what_they_are_made_of():
    """So noise of deviation 1 hides part of them and no more, whatever the width of the backbone."""
    torch.manual_seed(0)
    phi = DFM(MLP()(DataSpec((1, 8, 8))), Config()).D.trunk[1]
    assert phi(torch.randn(500, 256)).std().item() == pytest.approx(1, rel=0.05)


def test_players_take_turns(real, play):
    torch.manual_seed(0)
    variant = DFM(LinearParts(), Config(width=8, depth=2))
    before = {name: value.clone() for name, value in variant.named_parameters()}
    assert [update.player for update in play(variant, real, 20)] == ["D", "R", "G"] * 20
    assert variant.period == 1
    assert not any(torch.equal(value, before[name]) for name, value in variant.named_parameters())


def test_defaults():
    variant = DFM(LinearParts(), Config())
    for player, optimizer in variant.optimizers().items():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.999))
        assert optimizer.param_groups[0]["params"] == list(getattr(variant, player).parameters())
    config = Config()
    assert (config.denoising, config.adversarial, config.depth, config.width) == (0.03, 1, 10, 1024)
    assert (config.corruption, config.final_corruption) == (1, 1)


@pytest.mark.parametrize("setting", [{"denoising": "-1"}, {"adversarial": "inf"}, {"corruption": "-1"}, {"depth": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(DFM, "dfm", setting)
