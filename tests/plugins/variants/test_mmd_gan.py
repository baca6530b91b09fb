"""MMD GAN: both forms' losses pair by pair, the witness's gradient by hand, clipping, prior, schedule, optimizers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.mmd_gan import MMDGAN, Config
from torch import nn
from torch.optim import Adam, RMSprop

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))
SHAPES = (0.2, 0.5, 1, 2, 5)


@pytest.fixture
def parts(parts):
    """Add an encoder to the affine maps, for Li's form."""
    parts.encoder = lambda *, outputs: nn.Linear(2, outputs)
    return parts


class Biased(MMDGAN):
    """Broken on purpose: the kernel of each sample and itself is counted."""

    def distance(self, real, fake):
        k = self.kernel
        return k(real, real).mean() + k(fake, fake).mean() - 2 * k(real, fake).mean()


def rational_quadratic(a, b):
    return sum((1 + ((a - b) ** 2).sum() / (2 * shape)) ** -shape for shape in SHAPES)


def its_gradient(a, b):
    """∂/∂a of the sum of rational quadratic kernels, and of the inner product."""
    square = ((a - b) ** 2).sum()
    return sum(-(a - b) / (1 + square / (2 * shape)) * (1 + square / (2 * shape)) ** -shape for shape in SHAPES)


def gaussian(deviations):
    return lambda a, b: sum(np.exp(-((a - b) ** 2).sum() / (2 * s**2)) for s in deviations)


KERNELS = {
    "rq": rational_quadratic,
    "rq+dot": lambda a, b: rational_quadratic(a, b) + a @ b,
    "rbf": gaussian((2, 5, 10, 20, 40, 80)),
}


def mmd(k, x, y, *, biased=False):
    def mean(rows):
        pairs = itertools.product(rows, rows) if biased else itertools.permutations(rows, 2)
        return np.mean([k(a, b) for a, b in pairs])

    return mean(x) + mean(y) - 2 * np.mean([k(a, b) for a in x for b in y])


def check_binkowski(cls, parts, real, perform, affine, **options) -> None:
    variant = cls(parts, Config(lr=0.01, critic_steps=1, features=4, **options))
    optimizers, k = variant.optimizers(), KERNELS[variant.config.kernel or "rq+dot"]
    torch.manual_seed(5)
    z_d, places, z_g = torch.rand(8, 3) * 2 - 1, torch.rand(8, 1).numpy(), torch.rand(8, 3) * 2 - 1

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    fake, head = affine(variant.G, z_d), variant.D.head
    on_real, on_fake = affine(head, real), affine(head, fake)
    between = places * real.numpy() + (1 - places) * fake
    slopes = []
    for point in affine(head, between):
        slope = np.mean([its_gradient(point, y) for y in on_real], 0)
        slope = slope - np.mean([its_gradient(point, y) for y in on_fake], 0)
        if k is KERNELS["rq+dot"]:
            slope = slope + on_real.mean(0) - on_fake.mean(0)
        slopes.append(slope @ head.weight.detach().double().numpy())
    penalty = np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2)
    squares = (on_real**2).mean() + (on_fake**2).mean()
    regulariser = variant.config.penalty * penalty + variant.config.feature_penalty * squares
    assert update.player == "D"
    assert update.log["distance"].item() == pytest.approx(mmd(k, on_real, on_fake), rel=1e-4, abs=1e-6)
    assert update.log["regulariser"].item() == pytest.approx(regulariser, rel=1e-4)
    assert update.loss.item() == pytest.approx(regulariser - mmd(k, on_real, on_fake), rel=1e-4)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])

    update = next(step)
    on_real, on_fake = affine(head, real), affine(head, affine(variant.G, z_g))
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(mmd(k, on_real, on_fake), rel=1e-4, abs=1e-6)
    assert next(step, None) is None


@pytest.mark.parametrize("options", [{}, {"kernel": "rq", "penalty": 3.0}, {"kernel": "rq", "feature_penalty": 0.0}])
def test_losses_are_those_of_binkowski(options, parts, real, perform, affine):
    check_binkowski(MMDGAN, parts, real, perform, affine, **options)


def test_a_biased_estimate_is_seen(parts, real, perform, affine):
    with pytest.raises(AssertionError):
        check_binkowski(Biased, parts, real, perform, affine)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_those_asked_for(kernel, parts):
    variant = MMDGAN(parts, Config(kernel=kernel))
    x, y = torch.randn(3, 16, dtype=torch.float64), torch.randn(4, 16, dtype=torch.float64)
    expected = [[KERNELS[kernel](a, b) for b in y.numpy()] for a in x.numpy()]
    np.testing.assert_allclose(variant.kernel(x, y).numpy(), expected, rtol=1e-10)


def test_losses_are_those_of_li(parts, real, perform, affine):
    variant = MMDGAN(parts, Config(form="li", lr=0.01, critic_steps=1, clip=0.5))
    optimizers, k = variant.optimizers(), gaussian((1, 2, 4, 8, 16))
    torch.manual_seed(5)
    z_d, z_g = torch.randn(8, 3), torch.randn(8, 3)

    def distance(real, fake):
        on_real, on_fake = affine(variant.D.encoder, real), affine(variant.D.encoder, fake)
        excess = np.maximum(0, on_fake.mean(0) - on_real.mean(0)).mean()
        return np.sqrt(mmd(k, on_real, on_fake, biased=True)) - 16 * excess

    def error(x):
        return ((affine(variant.D.decoder, affine(variant.D.encoder, x)) - np.asarray(x)) ** 2).mean()

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    fake = affine(variant.G, z_d)
    assert update.loss.item() == pytest.approx(8 * error(real) + 8 * error(fake) - distance(real, fake), rel=1e-4)
    assert update.log["distance"].item() == pytest.approx(distance(real, fake), rel=1e-3)
    perform(update, optimizers["D"])

    update = next(step)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(distance(real, affine(variant.G, z_g)), rel=1e-3)


def test_li_clips_the_encoder_alone_after_each_update(play):
    torch.manual_seed(0)
    variant = MMDGAN(DCGAN()(DataSpec((1, 8, 8))), Config(form="li"))
    for update in play(variant, torch.randn(8, 1, 8, 8), 2):
        assert update.player == "D"
        assert max(parameter.abs().max() for parameter in variant.D.encoder.parameters()) <= 0.01
    assert max(parameter.abs().max() for parameter in variant.D.decoder.parameters()) > 0.01


def test_li_s_root_has_a_finite_gradient_where_samples_agree(parts):
    variant = MMDGAN(parts, Config(form="li"))
    codes = torch.zeros(4, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(variant.distance(codes.detach(), codes), codes)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("form", ["binkowski", "li"])
def test_the_distance_of_equal_batches(form, parts):
    variant = MMDGAN(parts, Config(form=form))
    features = torch.randn(8, 3)
    found = variant.distance(features, features).item()
    assert found < 0 if form == "binkowski" else found == pytest.approx(0, abs=2e-3)  # unbiased, it can be negative


def test_the_critic_does_not_mix_samples():
    torch.manual_seed(0)
    variant = MMDGAN(DCGAN()(DataSpec((3, 16, 16))), Config())
    x = torch.randn(6, 3, 16, 16)
    torch.testing.assert_close(variant.features(x)[:2], variant.features(x[:2]))
    assert variant.features(x).shape == (6, 16)


@pytest.mark.parametrize(("form", "variance"), [("binkowski", 1 / 3), ("li", 1.0)])
def test_latents(form, variance, parts):
    torch.manual_seed(0)
    z = MMDGAN(parts, Config(form=form)).noise(20_000)
    torch.testing.assert_close(z.var(0), torch.full((3,), variance), rtol=0.05, atol=0)
    assert (z.abs().max() <= 1) == (form == "binkowski")


@pytest.mark.parametrize("form", ["binkowski", "li"])
def test_five_critic_updates_go_before_each_of_the_generator(form, parts, real, play):
    variant = MMDGAN(parts, Config(form=form))
    assert variant.period == 5
    assert [update.player for update in play(variant, real, 20)] == ["D", "D", "D", "D", "D", "G"] * 4


def test_optimizers(parts):
    for optimizer in MMDGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.9))
    for optimizer in MMDGAN(parts, Config(form="li")).optimizers().values():
        assert type(optimizer) is RMSprop
        assert optimizer.defaults["lr"] == 5e-5
    assert MMDGAN(parts, Config(lr=1e-3)).optimizers()["D"].defaults["lr"] == 1e-3
    assert (Config().penalty, Config().feature_penalty, Config().clip) == (1, 1, 0.01)


@pytest.mark.parametrize("setting", [{"form": "gretton"}, {"kernel": "dot"}, {"lr": "0"}, {"features": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(MMDGAN, "mmd-gan", setting)


def test_the_slope_of_the_witness_is_per_unit_of_the_authors_pixels():
    """D of pixels u in [0, 1] is D of 2u - 1 here; the witness has a slope of one in their units."""
    torch.manual_seed(0)
    variant = MMDGAN(DCGAN()(DataSpec((1, 8, 8))), Config(kernel="rq", penalty=1.0, feature_penalty=0.0))
    with torch.no_grad():
        variant.D.head.weight.mul_(50)  # or the witness would be flat
    u = torch.rand(6, 1, 8, 8)
    torch.manual_seed(5)
    update = next(variant.step(Batch(2 * u - 1), START))
    torch.manual_seed(5)
    fake = (variant.sample(6).detach() + 1) / 2
    share = torch.rand(6, 1, 1, 1)
    places = (share * u + (1 - share) * fake).requires_grad_(True)
    on_places, on_real, on_fake = (variant.D(2 * pixels - 1) for pixels in (places, u, fake))

    def mean_kernel(a, b):
        squares = torch.cdist(a, b).square()
        return sum((1 + squares / (2 * shape)) ** -shape for shape in SHAPES).mean(1)

    values = mean_kernel(on_places, on_real) - mean_kernel(on_places, on_fake)
    (gradients,) = torch.autograd.grad(values.sum(), places)
    expected = ((gradients.flatten(1).norm(dim=1) - 1) ** 2).mean().item()
    assert update.log["regulariser"].item() == pytest.approx(expected, rel=1e-3)


def test_li_s_autoencoder_is_batch_normalised_and_its_code_as_wide_as_z():
    torch.manual_seed(0)
    parts = DCGAN()(DataSpec((1, 16, 16)))
    variant = MMDGAN(parts, Config(form="li"))
    for half in (variant.D.encoder, variant.D.decoder):
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in half.modules())
    x = torch.randn(4, 1, 16, 16)
    code = variant.features(x)
    assert code.shape == (4, parts.z_dim)
    assert variant.D(x).shape == x.shape and variant.D(x).abs().max() <= 1
    assert not torch.allclose(code[:2], variant.features(x[:2]))  # samples mix, as in Li's program
