"""Loss terms against closed forms: what they are worth, their gradients, and how the penalty samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganbench import (
    discriminator_loss,
    gradient_norms,
    gradient_penalty,
    hinge_discriminator_loss,
    input_gradients,
    nonsaturating_loss,
    saturating_loss,
    squared_jacobian_norms,
)

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 2.0], dtype=torch.float64)


def gradient_of(loss, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_(True)
    loss(logits).backward()
    assert logits.grad is not None
    return logits.grad


def test_the_best_discriminator_shows_the_jensen_shannon_divergence():
    """At D = log p/q the loss is 2 log 2 - 2 JS(p, q) (Goodfellow et al. 2014, theorem 1)."""
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.125, 0.125, 0.75])
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle)).sum() / 2 + (q * np.log(q / middle)).sum() / 2
    best = np.log(p / q)
    real = torch.tensor(np.repeat(best, (4, 2, 2)))  # eight samples of p
    fake = torch.tensor(np.repeat(best, (1, 1, 6)))  # eight samples of q
    assert discriminator_loss(real, fake).item() == pytest.approx(2 * np.log(2) - 2 * divergence, rel=1e-12)


def test_generator_losses_are_logarithms_of_the_sigmoid():
    probability = 1 / (1 + np.exp(-LOGITS.numpy()))
    assert nonsaturating_loss(LOGITS).item() == pytest.approx(-np.log(probability).mean(), rel=1e-12)
    assert saturating_loss(LOGITS).item() == pytest.approx(np.log(1 - probability).mean(), rel=1e-12)


def test_both_generator_losses_push_the_same_way_with_different_force():
    """d/dD of -log σ(D) is -(1 - σ(D)), of log(1 - σ(D)) it is -σ(D)."""
    probability = LOGITS.sigmoid()
    torch.testing.assert_close(gradient_of(nonsaturating_loss, LOGITS), -(1 - probability) / 4)
    torch.testing.assert_close(gradient_of(saturating_loss, LOGITS), -probability / 4)


def test_losses_are_finite_at_large_logits():
    sure = torch.tensor([-1e4, 1e4])
    assert discriminator_loss(sure, sure).item() == pytest.approx(1e4)
    assert nonsaturating_loss(sure).item() == pytest.approx(5e3)
    assert saturating_loss(sure).item() == pytest.approx(-5e3)


def test_input_gradients_are_per_sample_and_differentiable():
    """For ½ a x² summed over a sample the gradient is a x, and the derivative of its sum by a is the sum of x."""
    a, x = torch.tensor(3.0, requires_grad=True), torch.randn(4, 2, 3, 3)
    gradients = input_gradients(lambda x: 0.5 * a * x.square().flatten(1).sum(1, keepdim=True), x)
    torch.testing.assert_close(gradients, 3 * x)
    gradients.sum().backward()
    torch.testing.assert_close(a.grad, x.sum())
    assert not x.requires_grad


def test_gradient_norms_are_over_all_dimensions_of_a_sample():
    weight = torch.randn(3, 4, 4)
    norms = gradient_norms(lambda x: (x * weight).flatten(1).sum(1), torch.randn(5, 3, 4, 4))
    torch.testing.assert_close(norms, weight.square().sum().sqrt().expand(5))


def test_gradient_norms_have_a_finite_gradient_where_the_critic_is_flat():
    weight = torch.zeros(2, requires_grad=True)
    norms = gradient_norms(lambda x: x @ weight, torch.randn(4, 2))
    assert norms.max() <= 1e-5
    (norms - 1).square().mean().backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


def norm_over_channels(critic, real, fake):
    """Broken on purpose: the norm runs over dimension 1 of four."""
    gradients = input_gradients(critic, real)
    return (gradients.norm(dim=1) - 1).square().mean()


def norm_over_batch(critic, real, fake):
    """Broken on purpose: one norm for the whole batch."""
    return (input_gradients(critic, real).norm() - 1).square()


def check_penalty_of_a_linear_critic(penalty) -> None:
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    real, fake = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    expected = (np.sqrt((weight.double().numpy() ** 2).sum()) - 1) ** 2
    assert penalty(lambda x: (x * weight).flatten(1).sum(1), real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_the_penalty_of_a_linear_critic_is_known():
    check_penalty_of_a_linear_critic(gradient_penalty)
    for broken in (norm_over_channels, norm_over_batch):
        with pytest.raises(AssertionError):
            check_penalty_of_a_linear_critic(broken)


def place_per_pixel(critic, real, fake):
    """Broken on purpose: each pixel has a place of its own between real and fake."""
    mix = torch.rand_like(real)
    return (gradient_norms(critic, mix * real + (1 - mix) * fake) - 1).square().mean()


def place_per_batch(critic, real, fake):
    """Broken on purpose: all samples lie at the same place between real and fake."""
    mix = torch.rand(())
    return (gradient_norms(critic, mix * real + (1 - mix) * fake) - 1).square().mean()


def check_places(penalty) -> None:
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    real, fake = torch.ones(200, 3, 4, 4), torch.zeros(200, 3, 4, 4)  # so that the interpolate is ε itself
    penalty(critic, real, fake)
    (places,) = seen
    assert places.flatten(1).var(1).max() < 1e-12, "one ε a sample"
    assert places[:, 0, 0, 0].unique().numel() > 190, "another ε for each sample"
    assert places.min() >= 0 and places.max() <= 1
    assert places.mean().item() == pytest.approx(0.5, abs=0.1)
    assert places[:, 0, 0, 0].var().item() == pytest.approx(1 / 12, abs=0.03)


def test_the_penalty_is_taken_at_one_random_place_a_sample():
    torch.manual_seed(0)
    check_places(gradient_penalty)
    for broken in (place_per_pixel, place_per_batch):
        with pytest.raises(AssertionError):
            check_places(broken)


def test_the_penalty_leaves_the_generator_out():
    fake = torch.randn(4, 2, requires_grad=True)
    critic = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    gradient_penalty(critic, torch.randn(4, 2), fake).backward()
    assert fake.grad is None
    assert critic[0].weight.grad is not None


def test_the_penalty_is_in_float32_under_autocast():
    critic = nn.Linear(2, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert critic(torch.randn(4, 2)).dtype == torch.bfloat16
        penalty = gradient_penalty(critic, torch.randn(4, 2), torch.randn(4, 2).bfloat16())
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx((critic.weight.detach().norm().item() - 1) ** 2, rel=1e-5)


def test_the_jacobian_of_a_quadratic_network_is_known():
    """x ↦ (½ aᵢ ‖x‖²)ᵢ has the Jacobian rows aᵢ x; the derivative of ‖a‖² ‖x‖² by a is 2 a ‖x‖²."""
    a, x = torch.tensor([3.0, -1.0, 2.0], requires_grad=True), torch.randn(5, 2, 3, 3)
    outputs, norms = squared_jacobian_norms(lambda x: 0.5 * a * x.square().flatten(1).sum(1, keepdim=True), x)
    lengths = x.square().flatten(1).sum(1)
    torch.testing.assert_close(outputs, 0.5 * a * lengths[:, None])
    torch.testing.assert_close(norms, 14 * lengths)
    norms.sum().backward()
    torch.testing.assert_close(a.grad, 2 * a.detach() * lengths.sum())
    assert not x.requires_grad


def test_the_jacobian_is_in_float32_under_autocast():
    network = nn.Linear(2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, norms = squared_jacobian_norms(network, torch.randn(4, 2).bfloat16())
    assert outputs.dtype == norms.dtype == torch.float32
    torch.testing.assert_close(norms, network.weight.detach().square().sum().expand(4))


def test_the_hinge_is_flat_beyond_its_margins():
    real, fake = torch.tensor([-1.0, 0.5, 1.0, 3.0]), torch.tensor([-4.0, -1.0, 0.0, 2.0])
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx((2 + 0.5) / 4 + (1 + 3) / 4)
