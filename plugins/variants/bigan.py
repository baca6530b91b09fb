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
    NonNegative,
    Parts,
    Positive,
    Setting,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    joint_discriminator,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (train_gan.py).
    betas: of Adam (train_gan.py).
    final_rate: what is left of the learning rate at the end of its exponential decay over the second half of the
        budget, 1 for a constant rate (train_gan.py, train_mnist.sh).
    weight_decay: of weights, not of biases and scales (train_gan.py, whose layers on MNIST have weights alone).
    width: of D's layers above the sample's own, on images (ours).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    final_rate: Positive = 0.01
    weight_decay: NonNegative = 2.5e-5
    width: Count = 512


class BiGAN(Variant):
    """D tells pairs (x, E(x)) from pairs (G(z), z); where it cannot, E inverts G (theorem 2).

    E is deterministic, latents are uniform on (-1, 1).

    Objective: min_D -E log σ(D(x, E(x))) - E log(1 - σ(D(G(z), z))), min_{G,E} the same with the two kinds of pairs
    exchanged, whose gradient does not vanish (§3.4). Both losses are of the same pairs, drawn before any network moves,
    as in train_gan.py.
    Departures: networks are the backbone's, where the program has perceptrons on MNIST and AlexNet on ImageNet. The two
    kinds of pairs pass D apart.
    Budget: 400 epochs of 50,000 images of MNIST in batches of 128 (train_mnist.sh, train_gan.py)
    Published: no number under a protocol that can be run here.
    """

    name = "bigan"
    summary = "an encoder without noise and the generator, one discriminator of pairs of sample and latent"
    paper = "Donahue et al. 2017, arXiv:1605.09782"
    family = "collapse"
    paper_images = 20_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.E = parts.generator(), parts.encoder(outputs=parts.z_dim)
        self.D = joint_discriminator(parts, self.config.width)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.groups(self.G, self.E), lr, betas), "D": Adam(self.groups(self.D), lr, betas)}

    def groups(self, *networks: nn.Module) -> list[dict[str, Any]]:
        """Split parameters into weights, which decay, and biases and scales, which do not."""
        parameters = [p for network in networks for p in network.parameters()]
        weights, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        return [{"params": weights, "weight_decay": self.config.weight_decay}, {"params": others}]

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Return a factor of 1 during the first half, then one that decays to `final_rate`."""
        factor = self.config.final_rate ** (2 * clock.progress - 1).clamp_min(0)
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def noise(self, n: int) -> Tensor:
        """Draw latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim, device=self.device) * 2 - 1

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.E(x), self.G(z)
        loss = discriminator_loss(self.D(x, inferred.detach()), self.D(fake.detach(), z))
        # G and E first: their loss needs D's weights as they are, D's loss needs nothing of theirs.
        yield Update("G", discriminator_loss(self.D(fake, z), self.D(x, inferred)))
        yield Update("D", loss)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [BiGAN]
