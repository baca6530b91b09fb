"""Loss terms that several variants share. `D` is always a raw output; every loss is minimised."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from ganbench.contract.data import exact

Critic = Callable[[Tensor], Tensor]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log σ(D(x)) - E log(1 - σ(D(G(z)))), the discriminator's loss of Goodfellow et al. 2014, eq. 1, on logits."""
    return softplus(-real).mean() + softplus(fake).mean()


def nonsaturating_loss(fake: Tensor) -> Tensor:
    """-E log σ(D(G(z))), the generator's non-saturating loss of Goodfellow et al. 2014, §3, on logits."""
    return softplus(-fake).mean()


def saturating_loss(fake: Tensor) -> Tensor:
    """E log(1 - σ(D(G(z)))), the generator's side of the minimax game of Goodfellow et al. 2014, eq. 1, on logits."""
    return -softplus(fake).mean()


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), the discriminator's hinge loss (Lim & Ye 2017, eq. 9)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def input_gradients(critic: Critic, x: Tensor) -> Tensor:
    """Return ∇ₓ of the critic's summed output for each sample, `[B, *shape]`, differentiable, in float32.

    Summing is exact only where samples do not mix: no batch norm in the critic.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = exact(x.detach()).requires_grad_(True)
        (gradients,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradients


def squared_gradient_norms(critic: Critic, x: Tensor) -> Tensor:
    """Return ‖∇ₓ critic(x)‖₂² over all dimensions of each sample, `[B]`."""
    return input_gradients(critic, x).flatten(1).square().sum(1)


def gradient_norms(critic: Critic, x: Tensor) -> Tensor:
    """Return ‖∇ₓ critic(x)‖₂ over all dimensions of each sample, `[B]`; its own gradient is finite at zero."""
    return (squared_gradient_norms(critic, x) + 1e-12).sqrt()


def points_between(real: Tensor, fake: Tensor) -> Tensor:
    """Return x̂ = εx + (1-ε)G(z) in float32, one ε ~ U[0, 1] a sample; no gradient flows to G."""
    real, fake = exact(real), exact(fake.detach())
    mix = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return mix * real + (1 - mix) * fake


def squared_jacobian_norms(network: Critic, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return network(x), `[B, d]`, and ‖∂ network(x) / ∂x‖² over all outputs and inputs of each sample, `[B]`.

    Of one pass in float32, differentiable, and exact only where samples do not mix.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = exact(x.detach()).requires_grad_(True)
        outputs = network(x)
        rows = [torch.autograd.grad(column.sum(), x, create_graph=True)[0] for column in outputs.unbind(1)]
    return outputs, torch.stack([row.flatten(1).square().sum(1) for row in rows]).sum(0)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖₂ - 1)² at x̂ = εx + (1-ε)G(z), one ε ~ U[0, 1] a sample (Gulrajani et al. 2017, eq. 3)."""
    return (gradient_norms(critic, points_between(real, fake)) - 1).square().mean()
