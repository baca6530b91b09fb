"""SNGAN: spectral normalisation (Miyato et al., 2018)."""

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
    Parts,
    Positive,
    Setting,
    Update,
    Variant,
    dequantise,
    discriminator_loss,
    hinge_discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's residual networks, with the hinge loss.

    Its standard CNNs are best with `betas=0.5,0.999`, `critic_steps=1` and the non-saturating loss (setting C).

    lr: learning rate of both players (appendix B.2; sn_cifar10_unconditional.yml of the authors).
    betas: of Adam (appendix B.2; sn_cifar10_unconditional.yml of the authors).
    critic_steps: updates of D before each of G (appendix B.2; sn_cifar10_unconditional.yml of the authors).
    loss: "hinge" (eq. 16 and 17; updater.py of the authors) or "nonsaturating" (eq. 15).
    decay: let both rates fall linearly to zero over the whole budget (train.py of the authors).
    generator_batch: G's batch as a multiple of D's; one, so that an update of G costs what it does in other rows (ours;
        two in sn_cifar10_unconditional.yml of the authors).
    dequantise: add noise of one level to real images; off, so that all rows see the same images (ours; on in
        datasets/cifar10.py of the authors).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    loss: Literal["hinge", "nonsaturating"] = "hinge"
    decay: bool = True
    generator_batch: Count = 1
    dequantise: bool = False


class SNGAN(Variant):
    """Every weight of D is divided by its largest singular value, so that D has a Lipschitz constant of 1 at most.

    One power iteration goes into each forward pass in training (algorithm 1). G has no spectral norm.

    Objective: min_D E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), min_G -E D(G(z)), D's weights W / σ(W)
    Departures: the authors' program updates G before the five updates of D, doubles G's batch and adds noise of one
    level to images, which options do here. Its file for CIFAR-10 stops after 50,000 updates of G, the paper's runs
    after 100,000. The preset sngan-cifar10 is the paper's.
    Budget: 100,000 updates of G after five of D with 64 images each, 32M images (table 2)
    Published: IS 8.22 ± 0.05, FID 21.7 ± 0.21 on CIFAR-10 with residual networks and the hinge loss (table 2: the score
    over ten times 5,000 samples, the distance of 5,000 samples to 10,000 real images)
    IS 7.58 ± 0.12, FID 25.5 with the standard CNN and the hinge loss, IS 7.42 ± 0.08, FID 29.3 with the non-saturating
    loss (table 2)
    """

    name = "sngan"
    summary = "spectral norm on the discriminator's weights, hinge loss"
    paper = "Miyato et al. 2018, arXiv:1802.05957"
    family = "regulariser"
    paper_images = 32_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="spectral")
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
        hinge = config.loss == "hinge"
        images = dequantise(batch.real) if config.dequantise else batch.real
        real, fake = self.D(images), self.D(self.sample(n).detach())
        yield Update("D", hinge_discriminator_loss(real, fake) if hinge else discriminator_loss(real, fake))
        if (clock.step + 1) % config.critic_steps == 0:
            fake = self.D(self.sample(n * config.generator_batch))
            yield Update("G", -fake.mean() if hinge else nonsaturating_loss(fake))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [SNGAN]
