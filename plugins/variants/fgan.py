"""f-GAN: any f-divergence by its variational bound (Nowozin et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, Parts, Positive, Update, Variant, hookimpl


class Divergence(NamedTuple):
    """The output activation g_f of D's raw output v, and f* of it, the conjugate (tables 2 and 6 of the paper).

    Both are written out together, so that no exponential is taken of what a logarithm has just made.
    """

    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


DIVERGENCES = {
    "kl": Divergence(lambda v: v, lambda v: (v - 1).exp()),
    "reverse-kl": Divergence(lambda v: -(-v).exp(), lambda v: v - 1),
    "pearson": Divergence(lambda v: v, lambda v: v.square() / 4 + v),
    "hellinger": Divergence(lambda v: 1 - (-v).exp(), lambda v: v.exp() - 1),
    "jensen-shannon": Divergence(lambda v: math.log(2) - softplus(-v), lambda v: softplus(v) - math.log(2)),
    "total-variation": Divergence(lambda v: v.tanh() / 2, lambda v: v.tanh() / 2),
    "gan": Divergence(lambda v: -softplus(-v), lambda v: softplus(v)),
}
STEEP = {"kl", "reverse-kl", "hellinger"}  # an exponential remains, which grows beyond all numbers


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (ours: DCGAN's, so that the row differs from `gan` in nothing but the loss).
    betas: of Adam (ours: DCGAN's).
    divergence: which f; total variation is ½|u - 1|, half the absolute deviation (tables 1, 2 and 6).
    generator: "saddle" is the theory's, G lowers the bound; "practical" has G raise E T(G(z)) (§3.2).
    limit: raw outputs of KL, reverse KL and Hellinger are cut off there, because an exponential of theirs grows without
        bound; beyond it the slope is zero (ours).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    divergence: Literal["kl", "reverse-kl", "pearson", "hellinger", "jensen-shannon", "total-variation", "gan"] = (
        "jensen-shannon"
    )
    generator: Literal["practical", "saddle"] = "practical"
    limit: Positive = 10.0


class FGAN(Variant):
    """D raises a lower bound on the f-divergence of data and G.

    Equals: by default it is gan, whose losses those of the Jensen-Shannon divergence differ from by constants.
    Objective: max_D F, F = E T(x) - E f*(T(G(z))), T = g_f(D) (eq. 4 and 6), min_G F or max_G E T(G(z))
    Departures: networks and optimizers are those of the other variants, with Adam at DCGAN's rates. Three divergences
    have their raw outputs cut off.
    Budget: unknown, the paper's was not read
    Published: no number that was read under a protocol that can be run here
    """

    name = "fgan"
    summary = "an f-divergence of your choice, by its variational bound; the default, Jensen-Shannon, equals gan"
    paper = "Nowozin et al. 2016, arXiv:1606.00709"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def raw(self, x: Tensor) -> Tensor:
        """Return D's raw output, within the limit where the divergence needs one."""
        output: Tensor = self.D(x)
        if self.config.divergence not in STEEP:
            return output
        return output.clamp(-self.config.limit, self.config.limit)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, divergence = len(batch.real), DIVERGENCES[self.config.divergence]
        fake = self.sample(n).detach()
        bound = divergence.activation(self.raw(batch.real)).mean() - divergence.conjugate(self.raw(fake)).mean()
        yield Update("D", -bound, {"divergence": bound.detach()})
        v = self.raw(self.sample(n))
        practical = self.config.generator == "practical"
        yield Update("G", -divergence.activation(v).mean() if practical else -divergence.conjugate(v).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [FGAN]
