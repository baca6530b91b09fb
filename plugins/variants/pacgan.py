"""PacGAN: a discriminator of several samples at once (Lin et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate; 1e-4 on points (stacked_MNIST_experiments/VEEGAN_experiment/config.py).
    generator_lr: of G where it is another (1e-4 in stacked_MNIST_experiments/unrolled_GAN_experiment).
    betas: of Adam; 0.8 and 0.999 on points, 0.5 and 0.99 in the experiment of Unrolled GAN (the same files).
    packing: m, samples that D sees together; 1 is the plain GAN (§2; 2 to 4 in tables 1 to 3).
    generator_steps: updates of G after each of D; 2 on VEEGAN's stacked MNIST (VEEGAN_experiment/model.py).
    prior: of latents; "uniform" on (-1, 1) on VEEGAN's stacked MNIST (VEEGAN_experiment/model.py).
    same_latents: G's updates see D's latents again, as in all programs of the authors (VEEGAN_experiment/model.py).
    simultaneous: G and D move at once, by losses of the same fakes (ali/algorithms.py, with which
        synthetic_data_experiments works).
    apart: each place in the pack has a pass through G and batch statistics of its own, as in all programs of the
        authors (synthetic_data_experiments/PacGAN/pacgan/bricks.py).
    """

    lr: Positive = 2e-4
    generator_lr: Positive | None = None
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    packing: Count = 2
    generator_steps: Count = 1
    prior: Literal["normal", "uniform"] = "normal"
    same_latents: bool = False
    simultaneous: bool = False
    apart: bool = False

    def __post_init__(self) -> None:
        if self.simultaneous and self.generator_steps > 1:
            raise ValueError(f"players that move at once move once each, but generator_steps is {self.generator_steps}")


class PacGAN(Variant):
    """D(x₁, ..., x_m) tells m real samples from m fakes, so that fakes too much alike give themselves away (§2).

    The samples of a pack lie side by side in the channels of D's first layer, the only one that grows. As in the
    authors' experiments the number of packs a step, not that of samples, is the batch of a GAN that does not pack; so
    a step is served `packing` times as many images.

    Objective: min_D -E log σ(D(x₁, ..., x_m)) - E log(1 - σ(D(G(z₁), ..., G(z_m)))), min_G -E log σ(D(G(z₁), ...,
    G(z_m))) (§2)
    Departures: by default turns are DCGAN's; the authors' are options, which the presets set. The authors make packs of
    a data set once, here each step makes new ones; with `apart` the running statistics move once for each place, theirs
    once by the mean over places.
    Budget: 400,000 updates of 100 packs on points; 50 epochs of 128,000 packs, in batches of 64, on stacked MNIST
    (config.py of each)
    Published: tables 1 to 3, in the presets pacgan-synthetic, pacgan-stacked-mnist and unrolled-stacked-mnist.
    """

    name = "pacgan"
    summary = "the discriminator judges several samples at once"
    paper = "Lin et al. 2018, arXiv:1712.04086"
    family = "collapse"
    paper_images = 12_800_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        self.D = parts.discriminator(channels=self.config.packing * parts.data.shape[0], norm="batch")

    def images_per_step(self, batch: int) -> int:
        """Return the size of `batch` packs."""
        return self.config.packing * batch

    def optimizers(self) -> dict[str, Optimizer]:
        c = self.config
        return {
            "G": Adam(self.G.parameters(), c.generator_lr or c.lr, c.betas),
            "D": Adam(self.D.parameters(), c.lr, c.betas),
        }

    def noise(self, n: int) -> Tensor:
        """Draw latents from the prior that the options name."""
        if self.config.prior == "uniform":
            return torch.rand(n, self.z_dim, device=self.device) * 2 - 1
        return super().noise(n)

    def packs(self, z: Tensor) -> Tensor:
        """Return fakes for `judge`, those of each place in the pack by themselves where the options say so."""
        if not self.config.apart:
            fakes: Tensor = self.G(z)
            return fakes
        places = z.unflatten(0, (-1, self.config.packing)).unbind(1)
        return torch.stack([self.G(place) for place in places], 1).flatten(0, 1)

    def judge(self, x: Tensor) -> Tensor:
        """Return D of each pack; a pack is `packing` samples that follow one another."""
        output: Tensor = self.D(x.unflatten(0, (-1, self.config.packing)).flatten(1, 2))
        return output

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, c = len(batch.real), self.config
        z = self.noise(n)
        fake = self.packs(z)
        loss = discriminator_loss(self.judge(batch.real), self.judge(fake.detach()))
        if c.simultaneous:  # G first: its loss needs D's weights as they are, D's loss needs nothing of G
            yield Update("G", nonsaturating_loss(self.judge(fake)))
        yield Update("D", loss)
        for _ in range(0 if c.simultaneous else c.generator_steps):
            yield Update("G", nonsaturating_loss(self.judge(self.packs(z if c.same_latents else self.noise(n)))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [PacGAN]
