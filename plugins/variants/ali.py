"""ALI: adversarially learned inference (Dumoulin et al., 2017)."""

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
    joint_discriminator,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (tables 3 to 6; the programs on points have 1e-4, too).
    betas: of Adam; the programs on points have 0.8 and 0.999 (experiments/ali_cifar10.py, ali_mixture.py).
    deviation: how E draws z given x. "learned": from a Gaussian whose mean and deviation are functions of x
        (§2; experiments/ali_cifar10.py). "input": as a function of x and of noise of its shape, beside it at E's input
        (experiments/ali_mixture.py). "unit": from a Gaussian of deviation 1 (ours). "zero": without noise (ours).
    width: of D's layers above the sample's own, on images (ours; the paper has 1024 with maxout, table 3).
    dropout: of the inputs of those layers, on images (0.5 in table 3; the programs on points have none).
    """

    lr: Positive = 1e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    deviation: Literal["learned", "input", "unit", "zero"] = "learned"
    width: Count = 512
    dropout: Fraction = 0.5


class ALI(Variant):
    """D tells pairs (x, E(x)) from pairs (G(z), z); G and E together make them alike.

    Objective: min_D -E log σ(D(x, ẑ)) - E log(1 - σ(D(G(z), z))) with ẑ ~ q(z|x); min_{G,E} the same with the two
    kinds of pairs exchanged, which does not saturate (algorithm 1, §2.3). Both losses are of the same pairs, drawn
    before any network moves.
    Departures: on images D and E are the backbone's, with batch norm in D's part that sees x, where the paper has
    maxout and dropout, which here only the layers have that also see z. The two kinds of pairs pass D apart, where the
    program normalises them in one batch. G is deterministic, as in the program. On points D is one network of x and z
    together, as in the program.
    Budget: 6475 epochs of 45,000 images of CIFAR-10, in batches of 100 (table 3, ali/streams.py)
    Published: on the grid of 25 modes 24.1 modes and 95.7 % of high quality (Lin et al. 2018, table 1), the preset
    pacgan-synthetic; on images no number under a protocol that can be run here.
    """

    name = "ali"
    summary = "an encoder and the generator, one discriminator of pairs of sample and latent"
    paper = "Dumoulin et al. 2017, arXiv:1606.00704"
    family = "collapse"
    paper_images = 291_375_000
    config: Config

    def build(self, parts: Parts) -> None:
        c, channels = self.config, parts.data.shape[0]
        self.G = parts.generator()
        self.E = parts.encoder(
            outputs=(2 if c.deviation == "learned" else 1) * parts.z_dim,
            channels=2 * channels if c.deviation == "input" else None,
        )
        self.D = joint_discriminator(parts, c.width, dropout=c.dropout)

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        both = [*self.G.parameters(), *self.E.parameters()]
        return {"G": Adam(both, lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def infer(self, x: Tensor) -> Tensor:
        """Draw a latent for each sample from q(z|x)."""
        if self.config.deviation == "input":
            x = torch.cat([x, torch.randn_like(x)], 1)
        code: Tensor = self.E(x).float()
        if self.config.deviation == "unit":
            return code + torch.randn_like(code)
        if self.config.deviation != "learned":
            return code
        mean, log_deviation = code.chunk(2, 1)
        return mean + log_deviation.exp() * torch.randn_like(mean)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, z = batch.real, self.noise(len(batch.real))
        inferred, fake = self.infer(x), self.G(z)
        loss = discriminator_loss(self.D(x, inferred.detach()), self.D(fake.detach(), z))
        # G and E first: their loss needs D's weights as they are, D's loss needs nothing of theirs.
        yield Update("G", discriminator_loss(self.D(fake, z), self.D(x, inferred)))
        yield Update("D", loss)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [ALI]
