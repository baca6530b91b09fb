"""Networks so small that what a variant does with them can be computed on paper, and a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from ganbench import Autoencoder, Batch, Clock, DataSpec, Discriminator, Norm, Parts, Update, Variant


class LinearParts(Parts):
    """Affine maps between latents of 3 numbers and points: D(x) = w·x + b."""

    def __init__(self) -> None:
        super().__init__(DataSpec((2,)), 3)

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        return nn.Linear(self.z_dim, 2)

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        return Discriminator(nn.Identity(), nn.Linear(2, outputs))

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        return Autoencoder(nn.Linear(2, 1), nn.Linear(1, 2))


def perform_update(update: Update, optimizer: Optimizer) -> None:
    """Do what the harness does with an update."""
    optimizer.zero_grad()
    update.loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()


def play_steps(variant: Variant, real: Tensor, steps: int, first: int = 0) -> Iterator[Update]:
    """Make steps and hand out each update after it has been performed."""
    optimizers = variant.optimizers()
    for number in range(first, first + steps):
        for update in variant.step(Batch(real), Clock(number, torch.zeros(()))):
            perform_update(update, optimizers[update.player])
            yield update


def affine_map(layer: nn.Module, x: Tensor | NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a linear layer in float64 numpy."""
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    return np.asarray(x, np.float64) @ weight.T + bias


@pytest.fixture
def parts() -> Parts:
    torch.manual_seed(0)
    return LinearParts()


@pytest.fixture
def real() -> Tensor:
    return torch.randn(8, 2, generator=torch.Generator().manual_seed(1)) + 1


@pytest.fixture
def perform() -> Callable[[Update, Optimizer], None]:
    return perform_update


@pytest.fixture
def play() -> Callable[..., Iterator[Update]]:
    return play_steps


@pytest.fixture
def affine() -> Callable[[nn.Module, Tensor], NDArray[np.float64]]:
    return affine_map


@pytest.fixture
def seen_by() -> Callable[[nn.Module], list[Tensor]]:
    """Return a function that lists every batch which passes through a network from then on."""

    def watch(network: nn.Module) -> list[Tensor]:
        seen: list[Tensor] = []
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        return seen

    return watch
