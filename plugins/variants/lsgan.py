"""LSGAN: least squares GAN (Mao et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Lt
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, Parts, Positive, Update, Variant, hookimpl

Finite = Annotated[float, Gt(float("-inf")), Lt(float("inf"))]


@dataclass(frozen=True)
class Config:
    """Options. The targets are a, b and c of the paper.

    lr: learning rate of both players (train_lsun.py of the authors, for photographs; 2e-4 in train_chn.py for
        handwriting and in stability_comparison).
    betas: of Adam (vgg.py of the authors).
    fake_target: a, to which D pulls generated samples (eq. 9; -1 in eq. 8).
    real_target: b, to which D pulls real samples (eq. 9).
    generator_target: c, to which G pulls D of its samples (eq. 9; 0 in eq. 8).
    output: "linear" squares D itself (eq. 2), "sigmoid" σ(D), as some later comparisons did (google/compare_gan).
    """

    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    fake_target: Finite = 0.0
    real_target: Finite = 1.0
    generator_target: Finite = 1.0
    output: Literal["linear", "sigmoid"] = "linear"


class LSGAN(Variant):
    """D regresses real samples to one number and generated ones to another; G pulls D of its samples to a third.

    The authors train on photographs with a rate of 1e-3, and so does the default. At 2e-4, DCGAN's, which they have for
    handwriting, 500 updates make noise of faces at 32 px, and 300 are too few for MNIST; 8 px digits come out alike.

    Objective: min_D ½ E (D(x) - b)² + ½ E (D(G(z)) - a)², min_G ½ E (D(G(z)) - c)² (eq. 2)
    Departures: networks are those of the backbone, where the authors have deeper ones for 112 px.
    Budget: unknown; train_lsun.py ends after 1,000,000 updates of 64 images, which the paper need not have used
    Published: FID 7.8 ± 0.6 on MNIST, 30.7 ± 2.2 on Fashion-MNIST, 87.1 ± 47.5 on CIFAR-10, 53.9 ± 2.8 on CelebA,
    with σ(D) squared, best of a search
    on `infogan`, 10,000 samples against test images (Lucic et al. 2018, read in its copy by Dai & Wipf 2019)
    """

    name = "lsgan"
    summary = "squared distance to a target instead of cross entropy"
    paper = "Mao et al. 2017, arXiv:1611.04076"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def error(self, x: Tensor, target: float) -> Tensor:
        """Return ½ E (D(x) - target)²."""
        output: Tensor = self.D(x)
        if self.config.output == "sigmoid":
            output = output.sigmoid()
        return 0.5 * (output - target).square().mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        fake = self.sample(n).detach()
        yield Update("D", self.error(batch.real, config.real_target) + self.error(fake, config.fake_target))
        yield Update("G", self.error(self.sample(n), config.generator_target))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [LSGAN]
