"""MDGAN: losses of both forms and their signs by numpy, who moves what, real batches apart, schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP
from ganbench_plugins.variants.gan import GAN, Config as GANConfig
from ganbench_plugins.variants.mdgan import MDGAN, Config
from torch import nn
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, Discriminator, ImageSet, Parts, Update, UserError
from ganbench.runs.options import resolve
from ganbench.training.budget import Budget
from ganbench.training.trainer import Trainer

START = Clock(0, torch.zeros(()))
DIFFUSION = ["D_manifold", "G_manifold", "D", "G"]


class LinearParts(Parts):
    """Affine maps between latents of 3 numbers and points."""

    def __init__(self):
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs=None):
        return nn.Linear(self.z_dim, 2)

    def encoder(self, *, outputs):
        return nn.Linear(2, outputs)

    def discriminator(self, *, outputs=1, channels=None, norm="batch"):
        return Discriminator(nn.Identity(), nn.Linear(2, outputs))


class WrongSign(MDGAN):
    """Broken on purpose: reconstructions are to look fake, as the sign printed in the paper has it."""

    def regularize(self, real):
        for update in super().regularize(real):
            if update.player == "G":
                judged = self.D(self.reconstruct(real))
                wrong = nn.functional.softplus(-judged).mean() - nn.functional.softplus(judged).mean()
                update = Update("G", update.loss - self.config.mode * wrong, update.log)
            yield update

    def diffuse(self, real):
        for update in super().diffuse(real):
            if update.player == "D":
                update = Update("D", -update.loss)
            yield update


class Mean(MDGAN):
    """Broken on purpose: whatever is asked for, the distance is the mean over the numbers of a sample."""

    def error(self, reconstruction, x):
        return (reconstruction - x).square().mean()


def distance(kind, found, x):
    """E d(x, G(E(x))), and its slope by what E's sample becomes, times the number of samples."""
    squared = ((found - x) ** 2).sum(1)
    if kind == "norm":
        return np.sqrt(squared).mean(), (found - x) / np.sqrt(squared)[:, None]
    numbers = x.shape[1] if kind == "mean" else 1
    return squared.mean() / numbers, 2 * (found - x) / numbers


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


def check_regularized(cls, kind, real, perform, affine) -> None:
    torch.manual_seed(0)
    config = Config(lr=0.05, form="regularized", distance=kind, reconstruction=0.3, mode=0.7)
    variant = cls(LinearParts(), config)
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)
    x = real.double().numpy()

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real, on_fake = affine(variant.D.head, x), affine(variant.D.head, affine(variant.G, z_d))
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-log_sigmoid(on_real).mean() - log_sigmoid(-on_fake).mean(), rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    found = affine(variant.G, affine(variant.E, x))
    error, slope_of_error = distance(kind, found, x)
    on_fake, on_found = affine(variant.D.head, affine(variant.G, z_g)), affine(variant.D.head, found)
    expected = -log_sigmoid(on_fake).mean() + 0.3 * error - 0.7 * log_sigmoid(on_found).mean()
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["error"].item() == pytest.approx(error, rel=1e-5)
    judge, decoder = (layer.weight.detach().double().numpy() for layer in (variant.D.head, variant.G))
    doubt = 1 - np.exp(log_sigmoid(on_found))
    slope = (0.3 * slope_of_error - 0.7 * doubt * judge) @ decoder  # of what E puts out
    perform(update, optimizers["G"])
    np.testing.assert_allclose(variant.E.bias.grad.numpy(), slope.mean(0), rtol=1e-4, atol=1e-6)
    assert next(step, None) is None


def check_diffusion(cls, kind, real, perform, affine) -> None:
    torch.manual_seed(0)
    variant = cls(LinearParts(), Config(lr=0.05, manifold=0.3, distance=kind))
    optimizers = variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(4, 3), torch.randn(4, 3)
    x, other = real[:4].double().numpy(), real[4:].double().numpy()

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    found = affine(variant.G, affine(variant.E, x))
    on_real, on_found = affine(variant.D_manifold.head, x), affine(variant.D_manifold.head, found)
    assert update.player == "D_manifold"
    assert update.loss.item() == pytest.approx(-log_sigmoid(on_real).mean() - log_sigmoid(-on_found).mean(), rel=1e-5)
    perform(update, optimizers["D_manifold"])

    update = next(step)
    error, slope_of_error = distance(kind, found, x)
    expected = -0.3 * log_sigmoid(affine(variant.D_manifold.head, found)).mean() + error
    assert update.player == "G_manifold"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["error"].item() == pytest.approx(error, rel=1e-5)
    decoder, judge = (layer.weight.detach().double().numpy() for layer in (variant.G, variant.D_manifold.head))
    doubt = 1 - np.exp(log_sigmoid(affine(variant.D_manifold.head, found)))
    slope = (slope_of_error - 0.3 * doubt * judge) @ decoder
    perform(update, optimizers["G_manifold"])
    np.testing.assert_allclose(variant.E.bias.grad.numpy(), slope.mean(0), rtol=1e-4, atol=1e-6)

    update = next(step)
    on_found = affine(variant.D.head, affine(variant.G, affine(variant.E, other)))
    on_fake = affine(variant.D.head, affine(variant.G, z_d))
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-log_sigmoid(on_found).mean() - log_sigmoid(-on_fake).mean(), rel=1e-5)
    perform(update, optimizers["D"])

    update = next(step)
    assert update.player == "G"
    expected = -log_sigmoid(affine(variant.D.head, affine(variant.G, z_g))).mean()
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert next(step, None) is None


@pytest.mark.parametrize("kind", ["squared", "norm", "mean"])
@pytest.mark.parametrize("check", [check_regularized, check_diffusion])
def test_losses_are_those_of_the_paper(check, kind, real, perform, affine):
    check(MDGAN, kind, real, perform, affine)
    for broken in (WrongSign, Mean) if kind != "mean" else (WrongSign,):
        with pytest.raises(AssertionError):
            check(broken, kind, real, perform, affine)


def test_the_slope_of_the_norm_is_finite_where_nothing_is_missed():
    variant = MDGAN(LinearParts(), Config(distance="norm"))
    x = torch.ones(4, 2)
    found = x.clone().requires_grad_()
    variant.error(found, x).backward()
    assert not found.grad.any()


def test_updates_of_both_stages_are_the_generator_s_in_a_budget(real):
    variant = MDGAN(LinearParts(), Config())
    run = Trainer(variant, ImageSet(real), Budget.parse("6-updates"), seed=0, batch=2, device=torch.device("cpu"))
    *_, last = run.train(1.0)
    assert last.meters.updates == {"D_manifold": 3, "G_manifold": 3, "D": 3, "G": 3}


def test_without_its_regularisers_it_is_the_plain_gan(real, play):
    torch.manual_seed(0)
    variant = MDGAN(LinearParts(), Config(form="regularized", reconstruction=0, mode=0))
    plain = GAN(LinearParts(), GANConfig())
    plain.load_state_dict({name: value for name, value in variant.state_dict().items() if name[0] != "E"})
    for one in (variant, plain):
        torch.manual_seed(1)
        list(play(one, real, 3))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, variant.state_dict()[name])


def test_the_encoder_finds_latents_of_the_data(play):
    """Trained by the first stage alone on affine maps, G(E(x)) comes back to x."""
    torch.manual_seed(0)
    variant = MDGAN(LinearParts(), Config(lr=0.02, manifold=0))
    errors = [u.log["error"].item() for u in play(variant, torch.randn(64, 2), 150) if u.player == "G_manifold"]
    assert errors[-1] < 0.02 * errors[0]


def test_the_second_stage_leaves_the_encoder_alone(real, perform):
    variant = MDGAN(LinearParts(), Config())
    optimizers = variant.optimizers()
    encoders = []
    for update in variant.step(Batch(real), START):
        perform(update, optimizers[update.player])
        encoders.append(variant.E.weight.detach().clone())
    assert not torch.equal(encoders[0], encoders[1])
    assert torch.equal(encoders[1], encoders[3])


def test_each_stage_has_real_images_of_its_own(real, play, seen_by):
    variant = MDGAN(LinearParts(), Config())
    seen = seen_by(variant.E)
    list(play(variant, real, 1))
    assert torch.equal(seen[0], real[:4])
    assert torch.equal(seen[1], real[4:])
    assert variant.images_per_step(64) == 128
    assert MDGAN(LinearParts(), Config(form="regularized")).images_per_step(64) == 64


@pytest.mark.parametrize(("backbone", "data"), [(DCGAN(), DataSpec((3, 8, 8))), (MLP(), DataSpec((2,)))])
def test_reconstructions_have_the_shape_of_the_data(backbone, data):
    assert MDGAN(backbone(data), Config()).reconstruct(torch.randn(4, *data.shape)).shape == (4, *data.shape)


@pytest.mark.parametrize(("form", "players"), [("diffusion", DIFFUSION), ("regularized", ["D", "G"])])
def test_players_take_turns(form, players, real, play):
    torch.manual_seed(0)
    variant = MDGAN(LinearParts(), Config(form=form))
    before = {name: value.clone() for name, value in variant.state_dict().items()}
    assert [update.player for update in play(variant, real, 20)] == players * 20
    assert variant.period == 1
    assert not any(torch.equal(value, before[name]) for name, value in variant.state_dict().items())


def test_defaults():
    variant = MDGAN(LinearParts(), Config())
    optimizers = variant.optimizers()
    assert list(optimizers) == DIFFUSION
    for optimizer in optimizers.values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    config = Config()
    assert (config.form, config.reconstruction, config.mode, config.manifold) == ("diffusion", 0.2, 0.4, 0.01)
    assert config.distance == "squared"


@pytest.mark.parametrize(
    "setting", [{"form": "v1"}, {"distance": "l1"}, {"reconstruction": "-1"}, {"mode": "inf"}, {"manifold": "-0.1"}]
)
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(MDGAN, "mdgan", setting)
