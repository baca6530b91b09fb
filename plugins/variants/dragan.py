"""DRAGAN: a gradient penalty around the data (Kodali et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    gradient_norms,
    hookimpl,
    nonsaturating_loss,
    whole_batch,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the authors' notebook.

    lr: learning rate of both players (DRAGAN.ipynb of the authors).
    betas: of Adam (DRAGAN.ipynb of the authors).
    penalty: λ (DRAGAN.ipynb of the authors).
    slope: to which the norm of the gradient is pulled, per unit of pixels in [0, 1] (DRAGAN.ipynb of the authors).
    spread: of the noise, in deviations of the batch (DRAGAN.ipynb of the authors).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    penalty: NonNegative = 10.0
    slope: NonNegative = 1.0
    spread: NonNegative = 0.5


class DRAGAN(Variant):
    """The non-saturating GAN whose D has a slope near one around real samples.

    δ is uniform on [0, spread · deviation of the batch) in every pixel, α uniform on [0, 1) for each sample, and the
    slope is that of the logits. It is measured per unit of pixels in [0, 1], the authors' range: twice that of ours,
    in [-1, 1]. So λ (‖∇D‖ - 1)² there is 4λ (‖∇D‖ - ½)² in our units. On points the unit is that of the data.

    Objective: min_D -E log σ(D(x)) - E log(1 - σ(D(G(z)))) + λ E (‖∇D(x + αδ)‖ - 1)², min_G -E log σ(D(G(z)))
    Departures: D is layer-normalised, where the notebook's perceptron has no norm: batch norm would mix the samples
    that the penalty treats one by one. Latents are normal, uniform there.
    Budget: the notebook makes 200,000 updates of 128 images of MNIST, 25.6M images
    Published: FID 7.6 ± 0.4 on MNIST, 27.7 ± 1.2 on Fashion-MNIST, 69.8 ± 2.0 on CIFAR-10, 42.3 ± 3.0 on CelebA,
    best of a search
    on `infogan`, 10,000 samples against test images (Lucic et al. 2018, read in its copy by Dai & Wipf 2019)
    """

    name = "dragan"
    summary = "the discriminator's gradient norm pulled to one around the data"
    paper = "Kodali et al. 2017, arXiv:1705.07215"
    family = "regulariser"
    paper_images = 25_600_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")
        self.unit = 2.0 if parts.data.is_image else 1.0  # the authors' unit of the data in ours

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def around(self, real: Tensor) -> Tensor:
        """Return a point near each real sample."""
        noise = self.config.spread * whole_batch(real).std(correction=0) * torch.rand_like(real)
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        return real + share * noise

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        slopes = self.unit * gradient_norms(self.D, self.around(batch.real))
        penalty = (slopes - self.config.slope).square().mean()
        loss = discriminator_loss(self.D(batch.real), self.D(fake))
        yield Update("D", loss + self.config.penalty * penalty, {"penalty": penalty.detach()})
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DRAGAN]
