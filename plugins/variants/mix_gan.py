"""MIX+GAN: a mixture of generators against a mixture of discriminators (Arora et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    hookimpl,
    nonsaturating_loss,
    saturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (ours, DCGAN's).
    betas: of Adam (DCGAN's; the first also that of the authors' program, MIX-plus-GANs).
    components: T, of generators and of as many discriminators (5 in the authors' program).
    entropy: weight of the regulariser that keeps the weights even (0.1 in the authors' program).
    loss: of each generator against each discriminator, "minimax" as in the theory or, as DCGAN has it, "nonsaturating"
        (ours).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    components: Count = 5
    entropy: NonNegative = 0.1
    loss: Literal["nonsaturating", "minimax"] = "nonsaturating"


class Mixture(nn.Module):
    """Components and their trained weights, the softmax of `logits`."""

    def __init__(self, components: list[nn.Module]) -> None:
        super().__init__()
        self.components = nn.ModuleList(components)
        self.logits = nn.Parameter(torch.zeros(len(components)))

    def weights(self) -> Tensor:
        """Return the weight of each component; they sum to one."""
        return self.logits.softmax(0)

    def unevenness(self) -> Tensor:
        """Return the cross entropy -1/T Σ log wᵢ of even weights with these, least where these are even."""
        return -self.logits.log_softmax(0).mean()


class MixGAN(Variant):
    """The payoff is Σᵢⱼ wᵢ vⱼ F(Gᵢ, Dⱼ), an average over all pairs of components; both sides train their weights.

    Components differ by their initial weights alone, and share no layers. All generators are trained on latents of
    their own; samples come from a generator drawn by weight for each. One step costs T² passes of a plain GAN's.

    Objective: min_D Σᵢⱼ wᵢ vⱼ F_D(Gᵢ, Dⱼ) - λ/T Σⱼ log vⱼ, min_G Σᵢⱼ wᵢ vⱼ F_G(Gᵢ, Dⱼ) - λ/T Σᵢ log wᵢ, F_D and F_G the
    losses of a GAN, w and v softmaxes that each side trains with its networks
    Departures: the authors' program trains a conditional GAN, lets components share the layer of the latents if asked,
    and leaves out updates of D while its loss is below 0.3; none of it is done here.
    Budget: none was read
    Published: no number under a protocol that can be run here.
    """

    name = "mix-gan"
    summary = "several generators and discriminators, mixed by trained weights"
    paper = "Arora et al. 2017, arXiv:1703.00573"
    family = "collapse"
    config: Config
    G: Mixture
    D: Mixture

    def build(self, parts: Parts) -> None:
        numbers = range(self.config.components)
        self.G = Mixture([parts.generator() for _ in numbers])
        self.D = Mixture([parts.discriminator(norm="batch") for _ in numbers])

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw a generator by weight for each sample; all make theirs, so that which are drawn stays on the device."""
        chosen, z = torch.multinomial(self.G.weights(), n, replacement=True), self.noise(n)
        samples = torch.stack([generator(z) for generator in self.G.components])
        return samples[chosen, torch.arange(n, device=z.device)]

    def payoffs(self, loss: Callable[[Tensor], Tensor], fakes: list[Tensor]) -> Tensor:
        """Return a loss of what every discriminator, one a column, says of every generator's samples, one a row."""
        rows = [torch.stack([loss(judge(fake)) for judge in self.D.components]) for fake in fakes]
        return torch.stack(rows)

    def average(self, of_pairs: Tensor) -> Tensor:
        """Return Σᵢⱼ wᵢ vⱼ of what `payoffs` returns; not as matrix products, which autocast would make coarse."""
        return (self.G.weights()[:, None] * self.D.weights() * of_pairs).sum()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        fakes = [generator(self.noise(n)).detach() for generator in self.G.components]
        on_real = torch.stack([softplus(-judge(batch.real)).mean() for judge in self.D.components])
        on_fake = self.payoffs(lambda logits: softplus(logits).mean(), fakes)
        log = {"largest_discriminator_weight": self.D.weights().max().detach()}
        yield Update("D", self.average(on_real + on_fake) + config.entropy * self.D.unevenness(), log)
        loss = saturating_loss if config.loss == "minimax" else nonsaturating_loss
        of_pairs = self.payoffs(loss, [generator(self.noise(n)) for generator in self.G.components])
        log = {"largest_generator_weight": self.G.weights().max().detach()}
        yield Update("G", self.average(of_pairs) + config.entropy * self.G.unevenness(), log)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [MixGAN]
