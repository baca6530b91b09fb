"""BEGAN: boundary equilibrium GAN (Berthelot et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, NonNegative, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options. `diversity` is γ of the paper and `balance_rate` λ_k. The learning rate stays constant."""

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    diversity: NonNegative = 0.5
    balance_rate: NonNegative = 1e-3


class BEGAN(Variant):
    """D is an autoencoder and its error the energy; `k` keeps E ℓ(G(z)) near γ E ℓ(x) (§3.4 of the paper).

    D moves before G's error is taken, where the paper leaves the order open. G is the generator that all variants
    share, not a copy of D's decoder.
    """

    name = "began"
    summary = "an autoencoder as discriminator, its errors on real and fake held in balance"
    paper = "Berthelot et al. 2017, arXiv:1703.10717"
    family = "energy"
    config: Config
    k: Tensor

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.autoencoder()
        self.register_buffer("k", torch.zeros(()))

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def error(self, x: Tensor) -> Tensor:
        """Return E ℓ(x), the mean absolute error of the reconstruction over pixels and samples (eq. 1, η = 1)."""
        return l1_loss(self.D(x), x)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        real_error, fake_error = self.error(batch.real), self.error(self.sample(n).detach())
        yield Update("D", real_error - self.k * fake_error)
        fake_error = self.error(self.sample(n))
        drift = self.config.diversity * real_error.detach() - fake_error.detach()
        log = {"k": self.k.clone(), "convergence": real_error.detach() + drift.abs()}
        yield Update("G", fake_error, log)
        self.k.add_(self.config.balance_rate * drift).clamp_(0, 1)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [BEGAN]
