"""Consensus optimisation: every player also makes the gradients of all of them small (Mescheder et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop

from ganbench import (
    Batch,
    Clock,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    mean_over_ranks,
    nonsaturating_loss,
    saturating_loss,
)

EPSILON = 1e-5
"""TensorFlow's RMSprop adds 1e-10 inside the root, which is 1e-5 outside where there is nothing else."""


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the authors' program.

    lr: learning rate of both players (experiments/inception_score/conopt_conv4.py).
    decay: of RMSprop's mean of squares (TensorFlow's rmsprop.py; the authors set none).
    penalty: γ; 0.1 with one layer less (conopt_conv4.py; experiments/inception_score/conopt_conv3.py).
    saturating: G minimises what D maximises, so that the game is of zero sum (experiments/comparison/conopt.py, `JS`).
    """

    lr: Positive = 1e-4
    decay: Fraction = 0.9
    penalty: NonNegative = 10.0
    saturating: bool = False


class Consensus(Variant):
    """Both players move at once, down their own loss and down γ/2 ‖v‖², where v are the gradients of both.

    What is squared is the whole gradient of a batch, by the weights of D and of G, as in the authors' program
    (ConsensusOptimizer in consensus_gan/optimizer.py); it is one term, whose slope each player follows. Losses and all
    gradients are taken once, at the same weights and latents, in float32. D has no batch norm. On digits, with dcgan's
    networks, a step costs 2.5 times the FLOPs of one of `gan`.

    Objective: min_D L_D + γ/2 ‖v‖², min_G L_G + γ/2 ‖v‖², v = (∂L_D/∂D, ∂L_G/∂G), L_D = E sp(-D(x)) + E sp(D(G(z))),
    L_G = E sp(-D(G(z)))
    Departures: the authors' networks for the inception score have no batch norm in G either; here it is the backbone's.
    TensorFlow's mean of squares begins at one, which makes the first hundred updates or so small; torch's begins at 0.
    Budget: 150,000 updates of both with 64 images each, 9.6M images (conopt_conv4.py)
    Published: none was read
    """

    name = "consensus"
    summary = "both players also descend the squared norm of both gradients"
    paper = "Mescheder et al. 2017, arXiv:1705.10461"
    family = "regulariser"
    paper_images = 9_600_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, decay = self.config.lr, self.config.decay
        return {
            player: RMSprop(network.parameters(), lr, decay, EPSILON)
            for player, network in (("G", self.G), ("D", self.D))
        }

    def losses(self, real: Tensor) -> dict[str, Tensor]:
        """Return the loss of each player on the same fakes."""
        on_fake = self.D(self.sample(len(real)))
        of_G = saturating_loss if self.config.saturating else nonsaturating_loss
        return {"D": discriminator_loss(self.D(real), on_fake), "G": of_G(on_fake)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        with torch.autocast(batch.real.device.type, enabled=False):  # second derivatives are differences of much
            weights = {"D": list(self.D.parameters()), "G": list(self.G.parameters())}
            made, norm = agree(self.losses(batch.real), weights, self.config.penalty)
        yield Update("D", made["D"], {"penalty": norm})
        yield Update("G", made["G"])


def agree(
    losses: Mapping[str, Tensor], weights: Mapping[str, Sequence[Tensor]], penalty: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Return L + γ/2 ‖v‖² by player, and ½‖v‖²; v are the gradients of each loss by its own player's weights.

    Each gradient by a player's weights is worked out here, so that it is of this point also when others have moved.
    """
    slopes = {player: _gradients(loss, weights[player], create_graph=True) for player, loss in losses.items()}
    norm = (
        0.5 * torch.stack([mean_over_ranks(slope).square().sum() for each in slopes.values() for slope in each]).sum()
    )
    pulls = iter(_gradients(norm, [weight for player in losses for weight in weights[player]]))
    made = dict[str, Tensor]()
    for player, loss in losses.items():
        gradients = [slope.detach() + penalty * next(pulls) for slope in slopes[player]]
        lines = [((w - w.detach()) * gradient).sum() for w, gradient in zip(weights[player], gradients, strict=True)]
        made[player] = (loss + penalty * norm).detach() + torch.stack(lines).sum()
    return made, norm.detach()


def _gradients(of: Tensor, by: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Return the gradients, zeros where there is none; what they were made of is kept for others."""
    return torch.autograd.grad(
        of, by, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [Consensus]
