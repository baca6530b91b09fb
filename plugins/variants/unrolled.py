"""Unrolled GAN: the generator looks ahead of the discriminator (Metz et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, Parts, Positive, Update, Variant, discriminator_loss, hookimpl

EPSILON = 1e-8
TINY = 1e-24  # keeps the slope of the root finite where a gradient has always been zero


@dataclass(frozen=True)
class Config:
    """Options; rates and `betas` are those of the stacked-MNIST experiment as PacGAN's authors repeat it.

    The notebook on points has 1e-3 for G, 1e-4 for D and betas (0.5, 0.999). `steps`: K of the paper, 0 for the
    minimax GAN. `inner`: what is unrolled, "adam" as in that notebook, from the moments that D's optimizer has
    reached, or "sgd", plain gradient steps as in the paper's formulas.
    """

    generator_lr: Positive = 1e-4
    discriminator_lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.99)
    steps: Annotated[int, Ge(0)] = 5
    inner: Literal["adam", "sgd"] = "adam"


class UnrolledGAN(Variant):
    """G's gradient is that of f(θ_G, θ_D^K(θ_G)), through the K steps by which D answers to θ_G (§2.2 and 2.3).

    f is the minimax objective. D itself makes one step, from the same θ_G, θ_D and batch, as in the authors' notebook;
    the K steps see that batch too. D has no batch norm, whose statistics K imagined steps would move.
    """

    name = "unrolled"
    summary = "the generator's gradient runs through several future steps of the discriminator"
    paper = "Metz et al. 2017, arXiv:1611.02163"
    family = "collapse"
    config: Config
    outer: Adam

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self) -> dict[str, Optimizer]:
        c = self.config
        self.outer = Adam(self.D.parameters(), c.discriminator_lr, c.betas, eps=EPSILON)
        return {"G": Adam(self.G.parameters(), c.generator_lr, c.betas), "D": self.outer}

    def loss(self, weights: Mapping[str, Tensor], real: Tensor, fake: Tensor) -> Tensor:
        """Return D's loss, -f, were `weights` its weights."""
        on_real, on_fake = (cast(Tensor, functional_call(self.D, dict(weights), (x,))) for x in (real, fake))
        return discriminator_loss(on_real, on_fake)

    def unroll(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return D's loss after `steps` imagined steps on this batch, as a function of the fakes."""
        with torch.autocast(real.device.type, enabled=False):
            fake = fake.float()
            weights: dict[str, Tensor] = dict(self.D.named_parameters())
            memory = {name: self.moments(weight) for name, weight in self.D.named_parameters()}
            for _ in range(self.config.steps):
                loss = self.loss(weights, real, fake)
                slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
                for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                    weights[name], memory[name] = self.descend(weight, slope, memory[name])
            return self.loss(weights, real, fake)

    def moments(self, weight: nn.Parameter) -> tuple[Tensor, ...]:
        """Return the first and second moment and the number of steps that D's optimizer has for a weight."""
        state = self.outer.state.get(weight)
        if not state:
            return torch.zeros_like(weight), torch.zeros_like(weight), torch.zeros(())
        return state["exp_avg"], state["exp_avg_sq"], state["step"]

    def descend(self, weight: Tensor, slope: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Make one step that can be differentiated: Kingma & Ba 2015, algorithm 1, or down the slope alone."""
        lr, (beta_1, beta_2) = self.config.discriminator_lr, self.config.betas
        if self.config.inner == "sgd":
            return weight - lr * slope, memory
        mean, square, steps = memory
        mean, square, steps = beta_1 * mean + (1 - beta_1) * slope, beta_2 * square + (1 - beta_2) * slope**2, steps + 1
        root = (square / (1 - beta_2**steps) + TINY).sqrt()
        return weight - lr * mean / (1 - beta_1**steps) / (root + EPSILON), (mean, square, steps)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        fake = self.sample(len(batch.real))
        yield Update("G", -self.unroll(batch.real, fake))
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake.detach())))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [UnrolledGAN]
