"""VEEGAN: losses, gradients and their signs by numpy, the log ratio that D estimates, the optimum, schedule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.veegan import VEEGAN, Config
from joint import Bilinear, LinearParts
from scipy.stats import multivariate_normal, norm
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Update, UserError, discriminator_loss
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class WrongLabels(VEEGAN):
    """Broken on purpose: D is taught that the data's pairs are class 1, while G still lowers D."""

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if update.player == "D":
                z = self.noise(len(batch.real))
                judged = self.D(batch.real, self.reconstruct(batch.real).detach()), self.D(self.G(z).detach(), z)
                update = Update("D", discriminator_loss(*judged))
            yield update


class WrongSign(VEEGAN):
    """Broken on purpose: G raises D's output."""

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if update.player == "G":
                update = Update("G", 2 * update.log["reconstruction"] - update.loss)
            yield update


class InTurn(VEEGAN):
    """Broken on purpose: F answers to a G that has moved."""

    def step(self, batch, clock):
        z = self.noise(len(batch.real))
        torch.manual_seed(5)
        for update in super().step(batch, clock):
            if update.player == "F":
                update = Update("F", update.loss + self.distance(z, self.G(z)) - update.loss.detach())
            yield update


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def check_losses(cls, deviation, reconstructor, reduction, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(LinearParts(), Config(0.05, deviation=deviation, reconstructor=reconstructor, reduction=reduction))
    share = {"sum": 1, "mean": 1 / 3}[reduction]  # of z's three numbers
    variant.D = Bilinear(torch.randn(2, 3))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z = torch.randn(8, 3).double().numpy()
    noise = 0 if deviation == "zero" else torch.randn(8, 3).double().numpy()
    x, fake = real.double().numpy(), affine(variant.G, z)
    weight, reader = (layer.weight.detach().double().numpy() for layer in (variant.D, variant.F))
    of_real, of_fake = affine(variant.F, x), affine(variant.F, fake)
    code = of_real[:, :3] + (np.exp(of_real[:, 3:]) if deviation == "learned" else 1) * noise
    on_fake, on_real = (fake @ weight * z).sum(1), (x @ weight * code).sum(1)
    if deviation == "learned":
        distance = -norm.logpdf(z, of_fake[:, :3], np.exp(of_fake[:, 3:])).sum(1).mean() * share
    else:
        distance = ((z - of_fake) ** 2).sum(1).mean() * share

    # All of one draw and of the weights that there were before, whoever has moved.
    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(on_fake.mean() + distance, rel=1e-4)
    assert update.log["reconstruction"].item() == pytest.approx(distance, rel=1e-4)
    assert not update.log["reconstruction"].requires_grad
    perform(update, optimizers["G"])
    if deviation != "learned":
        slope = (z @ weight.T - 2 * share * (z - of_fake) @ reader).mean(0)
        np.testing.assert_allclose(variant.G.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-5)

    update = next(step)
    assert update.player == "F"
    expected = distance - (on_real.mean() if reconstructor == "both" else 0)
    assert update.loss.item() == pytest.approx(expected, rel=1e-4)
    perform(update, optimizers["F"])
    if deviation != "learned":
        slope = -2 * share * (z - of_fake).mean(0) - (x @ weight).mean(0) * (reconstructor == "both")
        np.testing.assert_allclose(variant.F.bias.grad.numpy(), slope, rtol=1e-4, atol=1e-5)

    update = next(step)
    assert update.player == "D"
    expected = -log_sigmoid(on_fake).mean() - log_sigmoid(-on_real).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    perform(update, optimizers["D"])
    slope = -np.einsum("n,ni,nk->ik", np.exp(log_sigmoid(-on_fake)), fake, z) / 8
    slope += np.einsum("n,ni,nk->ik", np.exp(log_sigmoid(on_real)), x, code) / 8
    np.testing.assert_allclose(variant.D.weight.grad.numpy(), slope, rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("reconstructor", ["distance", "both"])
@pytest.mark.parametrize("deviation", ["zero", "unit", "learned"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_and_gradients_are_those_of_the_algorithm(deviation, reconstructor, reduction, real, perform, affine):
    check_losses(VEEGAN, deviation, reconstructor, reduction, real, perform, affine)
    for broken in (WrongLabels, WrongSign, InTurn):
        with pytest.raises(AssertionError):
            check_losses(broken, deviation, reconstructor, reduction, real, perform, affine)


class LogRatio(nn.Module):
    """s · (log q(x, z) - log p(x, z)) of two Gaussians on R²×R²."""

    def __init__(self, q, p):
        super().__init__()
        self.scale, self.q, self.p = nn.Parameter(torch.ones(())), q, p

    def forward(self, x, z):
        pairs = torch.cat([x, z], 1).detach().double().numpy()
        ratio = torch.as_tensor(self.q.logpdf(pairs) - self.p.logpdf(pairs)).float()
        return self.scale * ratio[:, None]


def test_the_best_discriminator_is_the_log_ratio_of_generated_to_real_pairs():
    """G doubles and F halves data of deviation 1; at the log ratio D's loss is flat, and its mean on fakes is KL(q‖p).

    The generator's pairs (2z, z) and the data's (x, x/2) lie on one line, so both are blurred to have densities.
    """
    torch.manual_seed(0)
    blur = 0.5
    q = multivariate_normal(
        np.zeros(4), np.block([[4 * np.eye(2), 2 * np.eye(2)], [2 * np.eye(2), np.eye(2)]]) + blur**2 * np.eye(4)
    )
    p = multivariate_normal(
        np.zeros(4), np.block([[np.eye(2), np.eye(2) / 2], [np.eye(2) / 2, np.eye(2) / 4]]) + blur**2 * np.eye(4)
    )

    class Blurred(LogRatio):
        def forward(self, x, z):
            return super().forward(x + blur * torch.randn_like(x), z + blur * torch.randn_like(z))

    variant = VEEGAN(LinearParts(2), Config(deviation="zero"))
    with torch.no_grad():
        variant.G.weight.copy_(2 * torch.eye(2))
        variant.F.weight.copy_(torch.eye(2) / 2)
        variant.G.bias.zero_(), variant.F.bias.zero_()
    real = torch.randn(100_000, 2)
    variant.D = Blurred(q, p)
    update, *_, of_D = variant.step(Batch(real), START)
    (slope,) = torch.autograd.grad(of_D.loss, variant.D.scale)
    assert abs(slope.item()) < 0.02
    variant.D = Blurred(p, q)  # the other labels
    *_, of_D = variant.step(Batch(real), START)
    (slope,) = torch.autograd.grad(of_D.loss, variant.D.scale)
    assert slope.item() > 0.2

    divergence = 0.5 * (
        np.trace(np.linalg.solve(p.cov, q.cov)) - 4 + math.log(np.linalg.det(p.cov) / np.linalg.det(q.cov))
    )
    assert update.loss.item() - update.log["reconstruction"].item() == pytest.approx(divergence, rel=0.05)
    assert update.log["reconstruction"].item() == pytest.approx(0, abs=1e-6)  # F inverts G


def test_the_reconstructor_is_led_by_the_fakes_alone(real):
    """Other data, same update of F; with "both" the data count, too."""
    slopes = {}
    for reconstructor in ("distance", "both"):
        for shift in (0, 1):
            torch.manual_seed(0)
            variant = VEEGAN(LinearParts(), Config(reconstructor=reconstructor))
            step = variant.step(Batch(real + shift), START)
            next(step)
            (slopes[reconstructor, shift],) = torch.autograd.grad(next(step).loss, variant.F.weight)
    assert torch.equal(slopes["distance", 0], slopes["distance", 1])
    assert not torch.equal(slopes["both", 0], slopes["both", 1])


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,)))])
@pytest.mark.parametrize("deviation", ["zero", "unit", "learned"])
def test_the_size_of_the_latent_is_the_backbone_s(backbone, data, deviation):
    parts = backbone(data)
    variant = VEEGAN(parts, Config(width=16, deviation=deviation))
    x = torch.randn(4, *data.shape)
    assert variant.reconstruct(x).shape == (4, parts.z_dim)
    assert variant.D(x, variant.reconstruct(x)).shape == (4, 1)


def test_players_take_turns(real, play):
    torch.manual_seed(0)
    variant = VEEGAN(LinearParts(), Config())
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    assert [update.player for update in play(variant, real, 20)] == ["G", "F", "D"] * 20
    assert variant.period == 1
    moved = {name for name, value in variant.state_dict().items() if not torch.equal(value, before[name])}
    assert {"G.weight", "F.weight", "D.of_both.head.weight"} <= moved


def test_defaults():
    variant = VEEGAN(LinearParts(), Config())
    for player, optimizer in variant.optimizers().items():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
        assert optimizer.param_groups[0]["params"] == list(getattr(variant, player).parameters())
    assert (Config().deviation, Config().reconstructor, Config().width) == ("unit", "distance", 512)
    assert Config().reduction == "sum"


@pytest.mark.parametrize(
    "setting", [{"deviation": "fixed"}, {"reconstructor": "D"}, {"reduction": "max"}, {"width": "0"}]
)
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(VEEGAN, "veegan", setting)
