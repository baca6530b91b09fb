"""BiGAN: bidirectional GAN (Donahue et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    JointDiscriminator,
    NonNegative,
    Parts,
    Positive,
    Setting,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the authors' code.

    `final_rate`: what is left of the learning rate at the end of its exponential decay over the second half of the
    budget, 1 for a constant rate. `weight_decay`: of weights, not of biases and scales. `width`: of D's layers above
    the sample's own.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    final_rate: Positive = 0.01
    weight_decay: NonNegative = 2.5e-5
    width: Count = 512


class BiGAN(Variant):
    """D tells pairs (x, E(x)) from pairs (G(z), z); where it cannot, E inverts G (theorem 2 of the paper).

    E is deterministic. G and E minimise D's loss with the pairs exchanged, the objective that the paper uses because
    its gradient does not vanish (§3.4). D moves before the pairs of G and E are drawn, and sees the two kinds apart.
    """

    name = "bigan"
    summary = "an encoder without noise and the generator, one discriminator of pairs of sample and latent"
    paper = "Donahue et al. 2017, arXiv:1605.09782"
    family = "collapse"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.E = parts.generator(), parts.encoder(outputs=parts.z_dim)
        of_x = parts.discriminator(outputs=self.config.width, norm="batch")
        self.D = JointDiscriminator(of_x, parts.z_dim, self.config.width)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.groups(self.G, self.E), lr, betas), "D": Adam(self.groups(self.D), lr, betas)}

    def groups(self, *networks: nn.Module) -> list[dict[str, Any]]:
        """Split parameters into weights, which decay, and biases and scales, which do not."""
        parameters = [p for network in networks for p in network.parameters()]
        weights, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        return [{"params": weights, "weight_decay": self.config.weight_decay}, {"params": others}]

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Return 1 during the first half, then what decays to `final_rate`."""
        factor = self.config.final_rate ** (2 * clock.progress - 1).clamp_min(0)
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.E(x).detach(), self.G(z).detach()
        yield Update("D", discriminator_loss(self.D(x, inferred), self.D(fake, z)))
        z = self.noise(len(x))
        inferred, fake = self.E(x), self.G(z)
        yield Update("G", discriminator_loss(self.D(fake, z), self.D(x, inferred)))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [BiGAN]
