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

from ganbench import (
    Batch,
    Clock,
    Fraction,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    mean_over_ranks,
)

EPSILON = 1e-8
TINY = 1e-24  # keeps the slope of the root finite where a gradient has always been zero


@dataclass(frozen=True)
class Config:
    """Options.

    generator_lr: of G; the authors' notebook on points has 1e-3 (PacGAN's unrolled_GAN_experiment/D=0.25G/config.py).
    discriminator_lr: of D, for its steps and the imagined ones; that notebook has 1e-4 (the same config.py).
    betas: of Adam; that notebook has 0.5 and 0.999 (the same config.py).
    steps: K, imagined steps of D; 0 is the minimax GAN (§2.2; 5 in the authors' notebook).
    inner: what is unrolled. "adam", from the moments that D's optimizer has reached (the authors' notebook); "sgd",
        plain gradient steps (the notebook's text).
    norm: of D. "none": statistics of a batch do not depend on imagined steps (ours; D of the notebook has no norm);
        "batch" (unrolled_GAN_experiment/D=0.25G/model.py, on stacked MNIST).
    """

    generator_lr: Positive = 1e-4
    discriminator_lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.99)
    steps: Annotated[int, Ge(0)] = 5
    inner: Literal["adam", "sgd"] = "adam"
    norm: Literal["none", "batch"] = "none"


class UnrolledGAN(Variant):
    """G's gradient is that of f(θ_G, θ_D^K(θ_G)), through the K steps by which D answers to θ_G (§2.2 and 2.3).

    f is the minimax objective. D itself makes one step, from the same θ_G, θ_D and batch, as in the authors' notebook;
    the K steps see that batch too.

    Objective: min_G f(θ_G, θ_D^K), f = E log σ(D(x)) + E log(1 - σ(D(G(z)))), θ_D^{k+1} = θ_D^k + a step up f; max_D f
    (§2.2)
    Departures: none known from the notebook, whose ring has one of its modes twice. The program of the experiment on
    stacked MNIST was not published; its options here are those with which PacGAN's authors repeat it.
    Budget: 25,000 updates of 512 points (the notebook); 500,000 of 128 images on stacked MNIST (config.py of PacGAN's
    unrolled_GAN_experiment)
    Published: 5 steps find 236.4 modes of stacked MNIST, KL 4.67, with a D of a quarter of G, 732.0, KL 1.66, with one
    of a half (Lin et al. 2018, table 3), in the presets unrolled-stacked-mnist and unrolled-stacked-mnist-half.
    """

    name = "unrolled"
    summary = "the generator's gradient runs through several future steps of the discriminator"
    paper = "Metz et al. 2017, arXiv:1611.02163"
    family = "collapse"
    paper_images = 64_000_000
    config: Config
    outer: Adam

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)

    def optimizers(self) -> dict[str, Optimizer]:
        c = self.config
        self.outer = Adam(self.D.parameters(), c.discriminator_lr, c.betas, eps=EPSILON)
        for weight in self.D.parameters():  # what Adam would make at its first step; here it is read before
            moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
            self.outer.state[weight] = {"step": torch.zeros((), device=weight.device), **moments}
        return {"G": Adam(self.G.parameters(), c.generator_lr, c.betas), "D": self.outer}

    def loss(self, weights: Mapping[str, Tensor], real: Tensor, fake: Tensor) -> Tensor:
        """Return D's loss, -f, were `weights` its weights."""
        on_real, on_fake = (cast(Tensor, functional_call(self.D, dict(weights), (x,))) for x in (real, fake))
        return discriminator_loss(on_real, on_fake)

    def unroll(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return D's loss after `steps` imagined steps on this batch, as a function of the fakes."""
        with torch.autocast(real.device.type, enabled=False):
            fake = fake.to(real.dtype)
            weights: dict[str, Tensor] = dict(self.D.named_parameters())
            memory = {name: self.moments(weight) for name, weight in self.D.named_parameters()}
            for _ in range(self.config.steps):
                loss = self.loss(weights, real, fake)
                slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
                for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                    weights[name], memory[name] = self.descend(weight, mean_over_ranks(slope), memory[name])
            return self.loss(weights, real, fake)

    def moments(self, weight: nn.Parameter) -> tuple[Tensor, ...]:
        """Return the first and second moment and the number of steps that D's optimizer has for a weight."""
        state = self.outer.state[weight]
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
