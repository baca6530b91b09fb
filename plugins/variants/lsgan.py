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
    """Options. The targets are a, b and c of the paper, by default those of its eq. 9.

    `output`: "sigmoid" squares σ(D) instead of the paper's linear D, as some later comparisons did.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    fake_target: Finite = 0.0
    real_target: Finite = 1.0
    generator_target: Finite = 1.0
    output: Literal["linear", "sigmoid"] = "linear"


class LSGAN(Variant):
    """D regresses real to b and fake to a; G pulls D of its samples to c (eq. 2 of the paper)."""

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
