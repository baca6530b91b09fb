"""WGAN-GP: Wasserstein GAN with gradient penalty (Gulrajani et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

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
    gradient_penalty,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's Algorithm 1 and of the authors' networks for 64 px.

    lr: learning rate of both players (gan_64x64.py; 2e-4 in gan_cifar_resnet.py).
    betas: of Adam (gan_64x64.py; gan_mnist.py and gan_toy.py have 0.5 and 0.9).
    critic_steps: updates of D before each of G (Algorithm 1).
    penalty: λ (Algorithm 1; 0.1 on points in gan_toy.py).
    decay: let both rates fall linearly to zero over the whole budget (gan_cifar_resnet.py).
    norm: of D, whose samples must not mix; the residual networks of CIFAR-10 have none (§4, gan_cifar_resnet.py).
    generator_batch: G's batch as a multiple of D's; twice as large for CIFAR-10 (gan_cifar_resnet.py).
    dequantise: add noise of one level to real images (gan_cifar_resnet.py).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    penalty: NonNegative = 10.0
    decay: bool = False
    norm: Literal["layer", "instance", "spectral", "none"] = "layer"
    generator_batch: Count = 1
    dequantise: bool = False


class WGANGP(Variant):
    """The critic's slope is pulled to one between real and generated samples.

    The critic is layer-normalised: batch norm would mix the samples that the penalty treats one by one (§4).

    Objective: min_D E D(G(z)) - E D(x) + λ E (‖∇D(x̂)‖₂ - 1)², min_G -E D(G(z)), x̂ = εx + (1 - ε)G(z), ε ~ U[0, 1]
    Departures: the authors' programs skip G's first update. Their program for CIFAR-10 trains with labels and an
    auxiliary classifier as it stands. The preset wgan-gp-cifar10 is its setting without labels.
    Budget: 100,000 updates of G after five of D with 64 images each, 32M images (gan_cifar_resnet.py)
    Published: FID 20.3 ± 5.0 on MNIST, 24.5 ± 2.1 on Fashion-MNIST, 55.8 ± 0.9 on CIFAR-10, 30.3 ± 1.0 on CelebA,
    best of a search
    on `infogan`, 10,000 samples against test images (Lucic et al. 2018, read in its copy by Dai & Wipf 2019)
    IS 7.86 ± 0.08 on CIFAR-10 without labels, 50,000 samples in ten parts (as quoted by Miyato et al. 2018,
    table 2)
    """

    name = "wgan-gp"
    summary = "Wasserstein distance, the critic's gradient norm pulled to one"
    paper = "Gulrajani et al. 2017, arXiv:1704.00028"
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

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        real = dequantise(batch.real) if config.dequantise else batch.real
        fake = self.sample(n).detach()
        penalty = gradient_penalty(self.D, real, fake)
        gap = self.D(real).mean() - self.D(fake).mean()
        log = {"wasserstein": gap.detach(), "penalty": penalty.detach()}
        yield Update("D", config.penalty * penalty - gap, log)
        if (clock.step + 1) % config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n * config.generator_batch)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGANGP]
