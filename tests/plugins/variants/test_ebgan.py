"""EBGAN: energies, margin and pull-away by hand, what the margin stops, schedule, optimizers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.ebgan import EBGAN, Config, pull_away
from torch import nn
from torch.nn.functional import relu
from torch.optim import Adam

from ganbench import Autoencoder, Batch, Clock, DataSpec, Parts, Update, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class MarginOfTheMean(EBGAN):
    """Broken on purpose: the margin holds for the mean energy of the batch."""

    def step(self, batch, clock):
        updates = super().step(batch, clock)
        torch.manual_seed(5)
        fake = self.sample(len(batch.real)).detach()
        real_energy, fake_energy = (self.energy(x, self.D.encoder(x)).mean() for x in (batch.real, fake))
        torch.manual_seed(5)
        yield Update("D", real_energy + relu(self.margin - fake_energy), next(updates).log)
        yield from updates


@pytest.fixture
def energies(affine):
    """The energy of each sample, from the reconstruction in numpy."""

    def of(variant, x):
        error = affine(variant.D.decoder, affine(variant.D.encoder, x)) - np.asarray(x, np.float64)
        kinds = {"norm": np.linalg.norm(error, axis=1), "sum": (error**2).sum(1), "mean": (error**2).mean(1)}
        return kinds[variant.config.energy]

    return of


def mean_squared_cosine(codes):
    """Over all pairs of two different rows, one by one."""
    pairs = list(itertools.permutations(np.asarray(codes, np.float64), 2))
    return np.mean([(a @ b) ** 2 / ((a @ a) * (b @ b)) for a, b in pairs])


def check_losses(cls, parts, real, perform, affine, energies, **options) -> None:
    variant = cls(parts, Config(lr=0.01, **options))
    config, optimizers = variant.config, variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    on_real, on_fake = energies(variant, real), energies(variant, affine(variant.G, z_d))
    assert on_fake.min() < config.margin < on_fake.max(), "a margin that some fakes reach"
    expected = on_real.mean() + np.maximum(0, config.margin - on_fake).mean()
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["real_energy"].item() == pytest.approx(on_real.mean(), rel=1e-5)
    assert update.log["fake_energy"].item() == pytest.approx(on_fake.mean(), rel=1e-5)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])

    update = next(step)
    fake = affine(variant.G, z_g)
    similarity = mean_squared_cosine(affine(variant.D.encoder, fake))
    assert update.player == "G"
    expected = energies(variant, fake).mean() + config.pull_away * similarity
    assert update.loss.item() == pytest.approx(expected, rel=1e-5)
    assert update.log["pull_away"].item() == pytest.approx(similarity, rel=1e-5)
    assert next(step, None) is None


KINDS = [{"energy": "norm", "margin": 1.0}, {"energy": "sum", "margin": 1.0}, {"energy": "mean", "margin": 0.5}]


@pytest.mark.parametrize("options", [*KINDS, {"margin": 1.0, "pull_away": 0.0}, {"margin": 1.0, "pull_away": 3.0}])
def test_losses_are_those_of_the_paper(options, parts, real, perform, affine, energies):
    check_losses(EBGAN, parts, real, perform, affine, energies, **options)


def test_the_margin_holds_sample_by_sample(parts, real, perform, affine, energies):
    with pytest.raises(AssertionError):
        check_losses(MarginOfTheMean, parts, real, perform, affine, energies, margin=1.0)


def test_pull_away_is_the_mean_squared_cosine_of_different_samples():
    codes = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8)[:, None]
    assert pull_away(codes).item() == pytest.approx(mean_squared_cosine(codes), rel=1e-5)
    assert pull_away(codes[:1].expand(4, 5)).item() == pytest.approx(1)
    assert pull_away(torch.eye(5)).item() == 0


def test_fakes_beyond_the_margin_do_not_move_d(parts, real):
    """There D's gradient is that of an autoencoder of the data."""
    variant = EBGAN(parts, Config(margin=1e-3))
    weights = list(variant.D.parameters())
    update = next(variant.step(Batch(real), START))
    alone = torch.linalg.vector_norm(variant.D(real) - real, dim=1).mean()
    torch.testing.assert_close(torch.autograd.grad(update.loss, weights), torch.autograd.grad(alone, weights))


def test_the_norm_has_a_finite_gradient_at_a_perfect_reconstruction(parts):
    variant = EBGAN(parts, Config())
    x = torch.zeros(4, 2)
    with torch.no_grad():
        variant.D.decoder.weight.zero_()
        variant.D.decoder.bias.zero_()
    variant.energy(x, variant.D.encoder(x)).mean().backward()
    assert variant.D.decoder.bias.grad.isfinite().all()


class Asked(Parts):
    """Autoencoders that do nothing, and what was asked of them."""

    def __init__(self, shape):
        super().__init__(DataSpec(shape), 3)
        self.norms = []

    def generator(self, *, inputs=None):
        return nn.Identity()

    def autoencoder(self, *, norm="none"):
        self.norms.append(norm)
        return Autoencoder(nn.Identity(), nn.Identity())


@pytest.mark.parametrize("energy", ["norm", "sum", "mean"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32)])
def test_the_margin_is_the_same_error_of_each_number_whatever_the_size(energy, shape):
    """It is the energy of a sample whose numbers are all off by what 10 stands for in 784 of them."""
    variant, mnist = (EBGAN(Asked(s), Config(energy=energy)) for s in (shape, (1, 28, 28)))
    off = {"norm": 10 / 28, "sum": (10 / 784) ** 0.5, "mean": 10**0.5}[energy]
    for either in (variant, mnist):
        x = torch.zeros(1, *either.data.shape)
        assert either.energy(x + off, x).item() == pytest.approx(either.margin, rel=1e-5)
    assert mnist.margin == 10


def test_a_margin_can_be_taken_as_it_is_said():
    assert EBGAN(Asked((1, 8, 8)), Config(margin=7.0, scaled=False)).margin == 7
    assert EBGAN(Asked((2,)), Config(margin=7.0)).margin == 7, "points have no range"


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_d_has_the_norm_asked_for(norm):
    parts = Asked((1, 8, 8))
    EBGAN(parts, Config(norm=norm))
    assert parts.norms == [norm]


@pytest.mark.parametrize("weight", [0.1, 0.0])
def test_players_take_turns(weight, parts, real, play):
    variant = EBGAN(parts, Config(pull_away=weight))
    assert [update.player for update in play(variant, real, 20)] == ["D", "G"] * 20
    assert variant.period == 1


def test_defaults(parts):
    for optimizer in EBGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.5, 0.999))
    assert (Config().margin, Config().energy, Config().pull_away) == (10, "norm", 0.1)
    assert Config().scaled and Config().norm == "batch"


@pytest.mark.parametrize("setting", [{"margin": "0"}, {"energy": "l1"}, {"pull_away": "-0.1"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(EBGAN, "ebgan", setting)
