"""WGAN-LP: a one-sided gradient penalty (Petzka et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu
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
    dequantise,
    gradient_norms,
    hookimpl,
    points_between,
)


@dataclass(frozen=True)
class Config:
    """Options; λ is the paper's, the rest that of WGAN-GP, on whose programs the authors' are built.

    lr: learning rate of both players (as WGAN-GP's gan_64x64.py; 2e-4 in the authors' gan_cifar_resnet.py, where G and
        D have residual networks).
    betas: of Adam (the authors' gan_cifar_resnet.py).
    critic_steps: updates of D before each of G (the authors' gan_cifar_resnet.py, gan_cifar.py and gan_mnist.py; ten on
        points, with RMSprop at 5e-5, in mikigom/WGAN-LP-tensorflow, which reproduces the paper).
    penalty: λ (the authors' gan_cifar_resnet.py).
    decay: let both rates fall linearly to zero over the whole budget (the authors' gan_cifar_resnet.py).
    norm: of D, whose samples must not mix; none in the residual networks (the authors' gan_cifar_resnet.py).
    generator_batch: G's batch as a multiple of D's, two with residual networks (the authors' gan_cifar_resnet.py).
    dequantise: add noise of one level to real images (the authors' gan_cifar_resnet.py).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    penalty: NonNegative = 10.0
    decay: bool = False
    norm: Literal["layer", "instance", "spectral", "none"] = "layer"
    generator_batch: Count = 1
    dequantise: bool = False


class WGANLP(Variant):
    """WGAN-GP where only slopes above one cost, because the best critic may be flatter in places.

    The slope is taken between a real and a generated sample, as in WGAN-GP. The critic is layer-normalised, as batch
    norm would mix the samples.

    Objective: min_D E D(G(z)) - E D(x) + λ E max(0, ‖∇D(x̂)‖₂ - 1)² (eq. 8), min_G -E D(G(z))
    Departures: five critic steps, as the authors' programs for images have; ten are the setting for points. A first
    phase of 100 critic steps an update, which a reproduction has for points, is left out.
    Budget: 100,000 updates of G after five of D with 64 images each, 32M images (lukovnikov/improved_wgan_training,
    gan_cifar_resnet.py)
    Published: no number that was read under a protocol that can be run here
    """

    name = "wgan-lp"
    summary = "Wasserstein distance, the critic's gradient norm kept at one or below"
    paper = "Petzka et al. 2018, arXiv:1709.08894"
    family = "wasserstein"
    paper_images = 32_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Let both rates fall linearly to zero."""
        falling = {"lr": self.config.lr * (1 - clock.progress)}
        return {"G": falling, "D": falling} if self.config.decay else {}

    def excess(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E max(0, ‖∇D(x̂)‖ - 1)²."""
        return relu(gradient_norms(self.D, points_between(real, fake)) - 1).square().mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        real = dequantise(batch.real) if config.dequantise else batch.real
        fake = self.sample(n).detach()
        penalty = self.excess(real, fake)
        gap = self.D(real).mean() - self.D(fake).mean()
        log = {"wasserstein": gap.detach(), "penalty": penalty.detach()}
        yield Update("D", config.penalty * penalty - gap, log)
        if (clock.step + 1) % config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n * config.generator_batch)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANLP]
