"""SMMD GAN: losses of a linear critic by hand, the scale's gradient, clipping of gradients, prior, schedule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants.smmd_gan import SMMDGAN, Config
from torch.optim import Adam

from ganbench import Batch, Clock, DataSpec, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


class FixedScale(SMMDGAN):
    """Broken on purpose: D does not see that the scale depends on its weights."""

    def compare(self, real, fake):
        scale, distance = super().compare(real, fake)
        return scale.detach(), distance


def mmd(x, y, deviation):
    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * deviation**2))

    pairs = [list(itertools.permutations(rows, 2)) for rows in (x, y)]
    return sum(np.mean([k(a, b) for a, b in rows]) for rows in pairs) - 2 * np.mean([k(a, b) for a in x for b in y])


def scaled_mmd(weight, bias, real, fake, *, deviation=1.0, penalty=10.0):
    """Of φ(x) = W x + b: the Jacobian is W everywhere."""
    found = mmd(real @ weight.T + bias, fake @ weight.T + bias, deviation)
    return found / (1 + penalty * (weight**2).sum())


@pytest.mark.parametrize("options", [{}, {"features": 3, "deviation": 0.5, "penalty": 0.7}])
def test_losses_are_plus_and_minus_the_scaled_mmd(options, parts, real, perform, affine):
    variant = SMMDGAN(parts, Config(lr=0.01, critic_steps=1, **options))
    config, optimizers = variant.config, variant.optimizers()
    torch.manual_seed(5)
    z_d, z_g = torch.rand(8, 3) * 2 - 1, torch.rand(8, 3) * 2 - 1

    def expected(z):
        weight, bias = (p.detach().double().numpy() for p in variant.D.head.parameters())
        scales = {"deviation": config.deviation, "penalty": config.penalty}
        return scaled_mmd(weight, bias, real.double().numpy(), affine(variant.G, z), **scales)

    torch.manual_seed(5)
    step = variant.step(Batch(real), START)
    update = next(step)
    scale = 1 / (1 + config.penalty * variant.D.head.weight.square().sum().item())
    assert update.player == "D"
    assert update.loss.item() == pytest.approx(-expected(z_d), rel=1e-4)
    assert update.log["scale"].item() == pytest.approx(scale, rel=1e-5)
    assert update.log["mmd"].item() == pytest.approx(expected(z_d) / scale, rel=1e-4)
    assert not any(value.requires_grad or value.ndim for value in update.log.values())
    perform(update, optimizers["D"])

    update = next(step)
    assert update.player == "G"
    assert update.loss.item() == pytest.approx(expected(z_g), rel=1e-4)
    assert next(step, None) is None


def check_gradient(cls, parts, real, affine) -> None:
    """Against finite differences of the closed form: D moves the scale as well as the features."""
    variant = cls(parts, Config())
    torch.manual_seed(5)
    fake = affine(variant.G, torch.rand(8, 3) * 2 - 1)
    torch.manual_seed(5)
    update = next(variant.step(Batch(real), START))
    (gradient,) = torch.autograd.grad(update.loss, variant.D.head.weight)
    weight, bias = (p.detach().double().numpy() for p in variant.D.head.parameters())
    slopes = []
    for column in range(2):
        shift = 1e-6 * np.eye(2)[None, column]
        above, below = (scaled_mmd(weight + sign * shift, bias, real.double().numpy(), fake) for sign in (1, -1))
        slopes.append(-(above - below) / 2e-6)
    np.testing.assert_allclose(gradient.numpy()[0], slopes, rtol=1e-3)


def test_d_s_gradient_goes_through_the_scale(parts, real, affine):
    check_gradient(SMMDGAN, parts, real, affine)
    with pytest.raises(AssertionError):
        check_gradient(FixedScale, parts, real, affine)


def test_the_scale_is_over_all_pixels_and_the_critic_does_not_mix_samples():
    torch.manual_seed(0)
    variant = SMMDGAN(DCGAN()(DataSpec((3, 8, 8))), Config())
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(variant.D(x)[:2], variant.D(x[:2]))
    squares = []
    for sample in x:
        jacobian = torch.autograd.functional.jacobian(lambda x: variant.D(x[None])[0, 0], sample)
        squares.append(jacobian.square().sum().item())
    scale, _ = variant.compare(x, torch.randn(4, 3, 8, 8))
    assert scale.item() == pytest.approx(1 / (1 + 40 * np.mean(squares)), rel=1e-4)  # per unit of pixels in [0, 1]


def test_the_gradient_of_each_tensor_is_scaled_down_to_the_norm(parts, real, play, perform):
    variant = SMMDGAN(parts, Config(clip_norm=1e-3))
    optimizer = variant.optimizers()["D"]
    update = next(variant.step(Batch(real), START))
    weights = list(variant.D.parameters())
    whole = torch.autograd.grad(update.loss, weights, retain_graph=True)
    perform(update, optimizer)
    assert whole[0].norm() > 1e-3
    torch.testing.assert_close(weights[0].grad, 1e-3 * whole[0] / whole[0].norm())
    torch.testing.assert_close(weights[1].grad, whole[1], rtol=1e-4, atol=1e-8)  # of a bias that moves no distance
    for update in play(variant, real, 10):
        for parameter in getattr(variant, update.player).parameters():
            assert parameter.grad.norm() <= 1e-3 * 1.0001


def test_gradients_within_the_norm_stay(parts, real, perform):
    variant = SMMDGAN(parts, Config(clip_norm=1e3))
    update = next(variant.step(Batch(real), START))
    (whole,) = torch.autograd.grad(update.loss, variant.D.head.weight, retain_graph=True)
    perform(update, variant.optimizers()["D"])
    assert torch.equal(variant.D.head.weight.grad, whole)


def test_latents_are_uniform_on_the_cube(parts):
    z = SMMDGAN(parts, Config()).noise(20_000)
    assert -1 <= z.min() < -0.99 and 0.99 < z.max() <= 1
    torch.testing.assert_close(z.var(0), torch.full((3,), 1 / 3), rtol=0, atol=0.01)


def test_five_critic_updates_go_before_each_of_the_generator(parts, real, play):
    variant = SMMDGAN(parts, Config())
    assert variant.period == 5
    assert [update.player for update in play(variant, real, 20)] == ["D", "D", "D", "D", "D", "G"] * 4


def test_defaults_are_those_of_the_authors(parts):
    for optimizer in SMMDGAN(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.5, 0.9))
    config = Config()
    assert (config.penalty, config.features, config.deviation, config.clip_norm) == (10, 1, 1, 1)


@pytest.mark.parametrize("setting", [{"penalty": "-1"}, {"features": "0"}, {"deviation": "0"}, {"clip_norm": "0"}])
def test_wrong_options_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        resolve(SMMDGAN, "smmd-gan", setting)


@pytest.mark.parametrize("features", [1, 3])
def test_losses_are_those_of_the_authors_whose_pixels_are_in_0_1(features):
    """D of pixels u in [0, 1] is D of 2u - 1 here; λ weighs slopes in their units."""
    torch.manual_seed(0)
    variant = SMMDGAN(DCGAN()(DataSpec((1, 8, 8))), Config(features=features))
    with torch.no_grad():
        variant.D.head.weight.mul_(20)  # or all features would be alike
    u = torch.rand(6, 1, 8, 8)
    torch.manual_seed(5)
    update = next(variant.step(Batch(2 * u - 1), START))

    def d(pixels):
        return variant.D(2 * pixels - 1)

    torch.manual_seed(5)
    fake = (variant.sample(6).detach() + 1) / 2
    squares = [torch.autograd.functional.jacobian(lambda x: d(x[None])[0], x).square().sum().item() for x in u]
    on_real, on_fake = (d(x).detach().double().numpy() for x in (u, fake))
    assert update.log["scale"].item() == pytest.approx(1 / (1 + 10 * np.mean(squares)), rel=1e-4)
    assert update.loss.item() == pytest.approx(-mmd(on_real, on_fake, 1.0) / (1 + 10 * np.mean(squares)), rel=1e-3)


def test_features_of_real_and_fake_are_equally_exact_under_autocast():
    torch.manual_seed(0)
    variant = SMMDGAN(DCGAN()(DataSpec((1, 8, 8))), Config(features=4))
    with torch.no_grad():
        variant.D.head.weight.mul_(50)  # or all features would be alike
    x = torch.randn(6, 1, 8, 8).tanh().bfloat16()  # as G hands them out
    expected = variant.compare(x.float(), x)
    with torch.autocast("cpu", torch.bfloat16):
        found = variant.compare(x.float(), x)
    assert [value.item() for value in found] == [value.item() for value in expected]
    fake = torch.randn(6, 1, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        variant.compare(x.float(), fake)[1].backward()
    assert fake.grad is not None and fake.grad.abs().max() > 0
