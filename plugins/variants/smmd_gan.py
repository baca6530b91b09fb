"""SMMD and SN-SMMD GAN: scaled maximum mean discrepancy, on free and on normalised features (Arbel et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached, is_parametrized, register_parametrization
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    NonNegative,
    Norm,
    Parts,
    Positive,
    Update,
    Variant,
    gaussian_kernel,
    hookimpl,
    mean_over_ranks,
    mmd_squared,
    squared_jacobian_norms,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the authors' experiments with CIFAR-10 and CelebA.

    lr: learning rate of both players (configs/cifar10_smmd.yml of the authors).
    betas: of Adam (configs/cifar10_smmd.yml of the authors).
    critic_steps: updates of D before each of G (configs/cifar10_smmd.yml of the authors).
    features: outputs of D (configs/cifar10_smmd.yml of the authors).
    deviation: of the Gaussian kernel on them (gan/core/mmd.py of the authors).
    penalty: λ of the scale, on slopes per unit of pixels in [0, 1] (gan/main.py of the authors).
    clip_norm: to which the gradient of each weight tensor is scaled down (gan/core/model.py of the authors).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    critic_steps: Count = 5
    features: Count = 1
    deviation: Positive = 1.0
    penalty: NonNegative = 10.0
    clip_norm: Positive = 1.0


class SMMDGAN(Variant):
    """MMD² of the kernel on D's features, divided by how steep these are on average (§3 of the paper).

    With a Gaussian kernel the scale s is σ² of the paper but for a constant factor. Slopes are measured per unit of
    pixels in [0, 1], the authors' range: twice those of ours, in [-1, 1]. So λ = 10 there is 40 in our units. On points
    the unit is that of the data. Features of real and fake are both taken in float32.

    Objective: min_G max_D s MMD²(D(x), D(G(z))), s = 1 / (1 + λ E‖∇D(x)‖²) over real x
    Departures: G meets the batch that D has just seen. The learning rate stays constant, where the authors' program
    lowers it when its score stalls, and D is not trained longer at the start and every 500 updates, as it is there.
    Budget: 150,000 updates of G after five of D with 64 images each, 48M images (configs/cifar10_smmd.yml)
    Published: FID 25.0 on CIFAR-10 is of SN-SMMDGAN (table 1: 25,000 samples)
    """

    name = "smmd-gan"
    summary = "maximum mean discrepancy, scaled by the mean slope of D's features"
    paper = "Arbel et al. 2018, arXiv:1805.11565"
    family = "mmd"
    norm: ClassVar[Norm] = "none"
    paper_images = 48_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        self.D = parts.discriminator(outputs=self.config.features, norm=self.norm)
        self.unit = 2.0 if parts.data.is_image else 1.0  # the authors' unit of the data in ours
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        players = {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}
        for optimizer in players.values():
            optimizer.register_step_pre_hook(self.clip_gradients)
        return {**players}

    @torch.no_grad()
    def clip_gradients(self, optimizer: Optimizer, *_: Any) -> None:
        """Scale the gradient of each weight tensor down to `clip_norm` where it is longer."""
        for parameter in [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]:
            parameter.grad.mul_((self.config.clip_norm / (parameter.grad.norm() + 1e-12)).clamp(max=1))

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def compare(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale, and the unbiased MMD² of features, in float32 both of them."""
        on_real, slopes = squared_jacobian_norms(self.D, real)
        with torch.autocast(fake.device.type, enabled=False):  # as on_real, or rounding would tell real from fake
            on_fake = self.D(fake.float())
        scale = 1 / (1 + self.config.penalty * self.unit**2 * mean_over_ranks(slopes.mean()))
        return scale, mmd_squared(lambda x, y: gaussian_kernel(x, y, (self.config.deviation,)), on_real, on_fake)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        scale, distance = self.compare(batch.real, self.sample(len(batch.real)).detach())
        log = {"scale": scale.detach(), "mmd": distance.detach()}
        yield Update("D", -scale * distance, log)
        if (clock.step + 1) % self.config.critic_steps == 0:
            scale, distance = self.compare(batch.real, self.sample(len(batch.real)))
            yield Update("G", scale.detach() * distance)


class Multiplier(nn.Module):
    """Multiplies a normalised weight by one learnt number, 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()))

    def forward(self, weight: Tensor) -> Tensor:
        return self.value * weight


class SNSMMDGAN(SMMDGAN):
    """SMMD with D's weights γ W / σ(W), γ learnt for each layer, so that only the scale s limits D's slope.

    One power iteration goes into each update, and real and fake meet the same weights.

    Objective: that of smmd-gan
    Departures: those of smmd-gan.
    Budget: 150,000 updates of G after five of D with 64 images each, 48M images (configs/cifar10_smmd.yml)
    Published: FID 25.0 on CIFAR-10 (table 1: 25,000 samples)
    """

    name = "sn-smmd-gan"
    summary = "scaled maximum mean discrepancy on spectrally normalised features"
    norm = "spectral"

    def build(self, parts: Parts) -> None:
        super().build(parts)
        for layer in [layer for layer in self.D.modules() if is_parametrized(layer, "weight")]:
            register_parametrization(layer, "weight", Multiplier())

    def compare(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        with cached():  # the normalised weights, computed once
            return super().compare(real, fake)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [SMMDGAN, SNSMMDGAN]
