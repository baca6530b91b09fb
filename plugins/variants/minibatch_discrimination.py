"""Minibatch discrimination: a layer that compares the samples of a batch (Salimans et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Discriminator,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    WeightNorm,
    discriminator_loss,
    draw_normal,
    hardened,
    hookimpl,
    nonsaturating_loss,
    own_part,
    saturating_loss,
    whole_batch,
)

NEAREST = 2.0


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players; theirs falls to zero over the last third of the run, here it stays
        (train_cifar_minibatch_discrimination.py of openai/improved-gan, "the program" below).
    betas: of Adam (the program).
    kernels: B of the paper, the numbers that the layer adds to a sample's features (nn.py there).
    kernel_size: C of the paper, the length of the rows whose distance a kernel takes (nn.py there).
    loss: of G; "saturating" is E log(1 - σ(D(G(z)))), and "nonsaturating" the usual one (the program).
    generator_steps: of G after one of D (the program).
    norm: of D, "batch", or "weight", the program's: weight norm, scaled by the first batch ("batch" is ours).
    noise: deviation of Gaussian noise on D's input, 0.2 in the program (0 is ours, as the default of `norm`).
    dropout: share of the maps behind D's strided convolutions set to zero, 0.5 in the program (0 is ours).
    """

    lr: Positive = 3e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    kernels: Count = 100
    kernel_size: Count = 5
    loss: Literal["saturating", "nonsaturating"] = "saturating"
    generator_steps: Count = 3
    norm: Literal["batch", "weight"] = "batch"
    noise: NonNegative = 0.0
    dropout: Fraction = 0.0


class Closeness(nn.Module):
    """Append to the features of a sample how close it is to the others of its batch (§3.2).

    o_b(xᵢ) = Σ_{j≠i} exp(-‖M_{i,b} - M_{j,b}‖₁), M_i = f(xᵢ) T. As in the authors' code, the columns of T have unit
    length times a trained scale, distances start at a mean to the nearest neighbour of 2 and the sums at a mean of 0;
    the first batch sets these. The trained offset of that code is left to the bias of D's head.
    """

    unit: Tensor
    offset: Tensor
    fresh: Tensor

    def __init__(self, features: int, kernels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.directions = nn.Parameter(0.05 * torch.randn(features, kernels * kernel_size))
        self.log_scale = nn.Parameter(torch.zeros(kernels * kernel_size))
        self.register_buffer("unit", torch.ones(kernels, 1, 1))
        self.register_buffer("offset", torch.zeros(kernels))
        self.register_buffer("fresh", torch.ones((), dtype=torch.bool))

    def forward(self, features: Tensor) -> Tensor:
        """Return features and closeness side by side, `[B, F + kernels]`, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = whole_batch(features.float())
            weight = self.log_scale.exp() * self.directions / self.directions.norm(dim=0)
            rows = (features @ weight).unflatten(1, (self.kernels, -1)).transpose(0, 1)
            distances = torch.cdist(rows, rows, p=1)
            others = 1 - torch.eye(len(features), device=features.device)
            if self.training:
                self.settle(distances.detach(), others)
            unit = self.unit.clone()  # a second batch may pass before the first one's gradient is taken
            closeness = ((-distances / unit).exp() * others).sum(2).T
            return own_part(torch.cat([features, closeness - self.offset], 1))

    @torch.no_grad()
    def settle(self, distances: Tensor, others: Tensor) -> None:
        """Set the unit of distance and the offset by the first batch that passes; without asking the device."""
        nearest = (distances + 1e6 * (1 - others)).amin(2).mean(1)[:, None, None]
        self.unit.copy_(torch.where(self.fresh, (nearest / NEAREST).clamp_min(1e-12), self.unit))
        closeness = ((-distances / self.unit).exp() * others).sum(2).mean(1)
        self.offset.copy_(torch.where(self.fresh, closeness, self.offset))
        self.fresh.zero_()


class MinibatchDiscrimination(Variant):
    """The GAN whose D sees beside each sample's features how close the sample is to its neighbours in the batch. Real
    and fake batches pass apart, so samples are compared with their own kind.

    Objective: min_D -E log σ(D(x)) - E log(1 - σ(D(G(z)))), min_G E log(1 - σ(D(G(z)))), o_b(xᵢ) among D's features
    Departures: without the ten classes of D and their labels, which the program trains semi-supervised; the backbone's
    networks, with batch norm instead of weight norm, noise and dropout unless asked for; constant rates; latents from
    N(0, I), where the program has U(0, 1).
    Budget: 1,200 epochs of CIFAR-10 in batches of 100, 60M images (the program)
    Published: IS 8.09 ± 0.07 on CIFAR-10, with labels, as quoted in AC-GAN's text; not under a protocol that can be run
    here.
    """

    name = "minibatch-discrimination"
    summary = "the discriminator sees how alike the samples of a batch are"
    paper = "Salimans et al. 2016, arXiv:1606.03498"
    family = "collapse"
    paper_images = 60_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        c = self.config
        single = parts.discriminator(norm="batch" if c.norm == "batch" else "none")
        assert isinstance(single.head, nn.Linear)
        features = single.head.in_features
        trunk = hardened(single.trunk, weight_norm=c.norm == "weight", dropout=c.dropout, noise=c.noise)
        last = nn.Linear(features + c.kernels, 1).apply(draw_normal)
        head = WeightNorm(last, deviation=0.1, trained=True) if c.norm == "weight" else last
        closeness = Closeness(features, c.kernels, c.kernel_size)
        self.G, self.D = parts.generator(), Discriminator(nn.Sequential(trunk, closeness), head)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        loss = saturating_loss if self.config.loss == "saturating" else nonsaturating_loss
        fake = self.sample(n).detach()
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake)))
        for _ in range(self.config.generator_steps):
            yield Update("G", loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MinibatchDiscrimination]
