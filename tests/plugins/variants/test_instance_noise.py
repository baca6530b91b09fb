"""Instance noise: what D is shown, how the noise fades, the plain GAN without it, the Dirac-GAN by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dirac import dirac_course, path, slopes
from ganbench_plugins.variants.gan import GAN, Config as Plain
from ganbench_plugins.variants.instance_noise import Config, InstanceNoise
from torch.optim import Adam

from ganbench import Batch, Clock, UserError
from ganbench.runs.options import resolve

START = Clock(0, torch.zeros(()))


def moment(progress):
    return Clock(7, torch.tensor(progress))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize(
    ("fall", "progress", "sigma"), [("linear", 0.0, 0.6), ("linear", 0.75, 0.15), ("constant", 0.75, 0.6)]
)
def test_losses_are_those_of_samples_under_fresh_noise(parts, real, affine, fall, progress, sigma):
    """Drawn in turn: latents, noise on real samples, noise on fakes; then latents and noise for G."""
    variant = InstanceNoise(parts, Config(deviation=0.6, fall=fall))
    torch.manual_seed(5)
    first, second = variant.step(Batch(real), moment(progress))
    torch.manual_seed(5)
    z, on_real, on_fake, z_of_G, again = (torch.randn(8, width).double().numpy() for width in (3, 2, 2, 3, 2))
    outputs = [affine(variant.D.head, x.double().numpy() + sigma * e) for x, e in [(real, on_real)]]
    outputs += [affine(variant.D.head, affine(variant.G, x) + sigma * e) for x, e in [(z, on_fake), (z_of_G, again)]]
    seen, fake, of_G = outputs
    assert (first.player, second.player) == ("D", "G")
    assert first.loss.item() == pytest.approx(softplus(-seen).mean() + softplus(fake).mean(), rel=1e-5)
    assert second.loss.item() == pytest.approx(softplus(-of_G).mean(), rel=1e-5)
    first.loss.backward(retain_graph=True)
    assert all(weight.grad is None for weight in variant.G.parameters())
    second.loss.backward()
    by_outputs = -sigmoid(-of_G) / 8
    expected = (by_outputs * variant.D.head.weight.detach().double().numpy()).T @ z_of_G
    np.testing.assert_allclose(variant.G.weight.grad.numpy(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("config", "progress"), [(Config(), 1.0), (Config(deviation=0.0, fall="constant"), 0.0)])
def test_without_noise_it_is_the_plain_gan(parts, real, config, progress):
    """At the end of the budget, or with a deviation of zero; latents of D's update are the same draws."""
    ours, theirs = InstanceNoise(parts, config), GAN(parts, Plain())
    theirs.load_state_dict(ours.state_dict())
    losses = []
    for variant in (ours, theirs):
        torch.manual_seed(5)
        losses.append(next(variant.step(Batch(real), moment(progress))).loss.item())
    assert losses[0] == losses[1]


def test_samples_have_no_noise(parts):
    variant = InstanceNoise(parts, Config(deviation=100.0, fall="constant"))
    torch.manual_seed(5)
    samples = variant.sample(8)
    torch.manual_seed(5)
    assert torch.equal(samples, variant.G(torch.randn(8, 3)))


def test_the_noise_is_as_wide_as_said_and_independent(parts, seen_by):
    variant, real = InstanceNoise(parts, Config(deviation=0.7)), torch.zeros(20_000, 2)
    seen = seen_by(variant.D)
    list(variant.step(Batch(real), moment(0.5)))
    noise = seen[0]
    assert noise.std().item() == pytest.approx(0.35, rel=0.02) and abs(noise.mean().item()) < 0.01
    assert abs(torch.corrcoef(noise.T)[0, 1].item()) < 0.03
    assert len(seen) == 3 and len({each[0, 0].item() for each in seen}) == 3


def expected(theta, psi, sigma):
    """The slopes of θ and ψ with D(x) = ψx, expectations over the noise by Gauss-Hermite quadrature."""
    at, weights = np.polynomial.hermite_e.hermegauss(80)
    weights, noise = weights / weights.sum(), sigma * at
    fake, real = psi * (theta + noise), psi * noise
    by_theta = weights @ (-sigmoid(-fake) * psi)
    by_psi = weights @ (-sigmoid(-real) * noise + sigmoid(fake) * (theta + noise))
    return np.array([by_theta, by_psi])


@pytest.mark.parametrize(("theta", "psi"), [(1.0, 1.0), (0.4, -1.7), (0.0, 2.0)])
def test_the_field_of_the_dirac_gan_is_that_of_quadrature(theta, psi):
    n, sigma = 400_000, 0.7
    course = dirac_course(InstanceNoise, Config(deviation=sigma, fall="constant"), theta, psi, batch=n)
    error = 4 * max(1, abs(psi)) / np.sqrt(n)
    np.testing.assert_allclose(slopes(course), expected(theta, psi, sigma), atol=error)
    assert np.abs(expected(theta, psi, sigma) - expected(theta, psi, 0.0)).max() > 10 * error


def test_close_to_its_equilibrium_the_dirac_gan_moves_as_the_eigenvalues_say():
    """The field there is (-ψ/2, θ/2 + σ²ψ/2), of eigenvalues -σ²/4 ± √(σ⁴/16 - 1/4) (Mescheder et al. 2018, §3)."""
    h, sigma, steps, n = 0.2, 0.7, 20, 200_000
    course = dirac_course(InstanceNoise, Config(deviation=sigma, fall="constant"), 0.1, 0.1, lr=h, batch=n)
    found = path(course, steps)
    by_D = np.array([[1, 0], [-h / 2, 1 - h * sigma**2 / 2]])  # D moves first, then G by where D is
    by_G = np.array([[1, h / 2], [0, 1]])
    right = np.linalg.matrix_power(by_G @ by_D, steps) @ found[0]
    np.testing.assert_allclose(found[-1], right, atol=2e-3)
    unnoisy = np.linalg.matrix_power(by_G @ np.array([[1, 0], [-h / 2, 1]]), steps) @ found[0]
    assert np.abs(right - unnoisy).max() > 0.02


def test_the_dirac_gan_converges_where_the_plain_gan_does_not():
    noisy = path(dirac_course(InstanceNoise, Config(deviation=0.7, fall="constant"), 1.0, 1.0, batch=4096), 300)
    plain = path(dirac_course(GAN, Plain(), 1.0, 1.0), 300)
    lengths, others = np.linalg.norm(noisy, axis=1), np.linalg.norm(plain, axis=1)
    assert lengths[-50:].max() < 0.05 and others[-50:].min() > 0.3


def test_defaults_and_options(parts):
    for optimizer in InstanceNoise(parts, Config()).optimizers().values():
        assert type(optimizer) is Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().deviation, Config().fall) == (0.1, "linear")
    for wrong in ({"deviation": "-1"}, {"fall": "cosine"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            resolve(InstanceNoise, "instance-noise", wrong)
