"""The gradient experiment of Arjovsky & Bottou (2017, figures 2 and 3): G fixed, a fresh D trained against it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from ganbench.contract.data import ImageSet
from ganbench.contract.types import Batch, Clock, Curve
from ganbench.contract.variant import Variant
from ganbench.errors import UserError
from ganbench.seeds import derive, seed_device
from ganbench.toolbox.losses import discriminator_loss, nonsaturating_loss, saturating_loss
from ganbench.training.meter import norm_of
from ganbench.training.stream import Stream

SATURATING, NONSATURATING, OWN = "log(1-D)", "-log D", "own"
LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)
"""Of the fresh discriminator's Adam, as DCGAN's."""


def log_spaced(iterations: int, points: int = 100) -> list[int]:
    """Return at most `points` numbers from 0 to `iterations`, evenly spaced on a log axis."""
    return sorted({round(float(number)) - 1 for number in np.geomspace(1, iterations + 1, points)})


def canonical_curves(
    variant: Variant,
    discriminator: nn.Module,
    data: ImageSet,
    *,
    batch: int,
    at: Sequence[int],
    seed: int,
    latents: int = 0,
    running: bool = False,
) -> dict[str, Curve]:
    """Train a fresh discriminator against a fixed generator, and watch the generator's gradient under both losses.

    The gradient is that of all weights that make the samples, on one fixed batch of latents, through logits: -σ(D) and
    -σ(-D) are exact where D is sure. The generator is in training mode, as when it is updated. `at`: after how many
    updates of D to look. `latents`: of how many the loss is the mean, a batch's by default; of fewer, the others of the
    batch have a part in the statistics of batch norm alone. `running`: D looks with its running statistics. Variant and
    discriminator are copied, and stay as they are.
    """
    fixed, D = _thawed(variant), copy.deepcopy(discriminator).to(variant.device).train()
    stream = Stream(data, batch, seed, variant.device)
    weights, optimizer = list(fixed.parameters()), Adam(D.parameters(), LEARNING_RATE, BETAS)
    drawn = max(batch, latents)
    generates = fixed.task == "generate"
    cond = None if generates else _as(Stream(data, drawn, seed, variant.device)[0], weights).cond
    saturating: list[Tensor] = []
    nonsaturating: list[Tensor] = []
    for iteration in range(max(at) + 1):
        if iteration in at:
            seed_device(variant.device, derive(seed, "probe", "latents"))
            logits = D.train(not running)(fixed.sample(drawn, cond))[: latents or batch]
            D.train()
            saturating.append(_gradient_norm(saturating_loss(logits), weights))
            nonsaturating.append(_gradient_norm(nonsaturating_loss(logits), weights))
        real = _as(stream[iteration], weights)
        seed_device(variant.device, derive(seed, "probe", iteration))
        with torch.no_grad():
            fake = fixed.sample(batch, None if generates else real.cond)
        optimizer.zero_grad(set_to_none=True)
        discriminator_loss(D(real.real), D(fake)).backward()
        optimizer.step()
    iterations = sorted(at)
    return {
        SATURATING: Curve(iterations, torch.stack(saturating).tolist()),
        NONSATURATING: Curve(iterations, torch.stack(nonsaturating).tolist()),
    }


def own_curve(variant: Variant, fresh: Variant, data: ImageSet, *, batch: int, at: Sequence[int], seed: int) -> Curve:
    """Train everything but the generator afresh by the variant's own step, and watch the variant's own loss.

    `fresh`: the same variant before its first step; a copy of it is given the player G of `variant`. What the step
    yields for G is measured, on the latents that it draws itself, and not performed. Measured at the first such update
    after so many updates of D. Raises `UserError` where there is no player G or D.
    """
    other = copy.deepcopy(fresh).to(variant.device).train()
    optimizers = other.optimizers()
    players = {
        player: [p for group in optimizer.param_groups for p in group["params"]]
        for player, optimizer in optimizers.items()
    }
    if missing := [player for player in ("G", "D") if player not in players]:
        raise UserError(f"{variant.name} has no player {missing[0]}, so its own loss cannot be probed")
    _take_over_generator(other, variant, set(players["G"]))
    stream = Stream(data, other.images_per_step(batch), seed, variant.device)
    wanted, step, made = sorted(at), 0, 0
    iterations: list[int] = []
    norms: list[Tensor] = []
    while wanted:
        seed_device(variant.device, derive(seed, "probe", step))
        for update in other.step(_as(stream[step], players["G"]), Clock(step, torch.zeros((), device=variant.device))):
            if update.player != "G":
                optimizers[update.player].zero_grad(set_to_none=True)
                update.loss.backward(inputs=players[update.player])
                optimizers[update.player].step()
                made += update.player == "D"
            elif wanted and wanted[0] <= made:
                iterations.append(made)
                norms.append(_gradient_norm(update.loss, players["G"]))
                wanted = [number for number in wanted if number > made]
        step += 1
    return Curve(iterations, torch.stack(norms).tolist())


def _thawed(variant: Variant) -> Variant:
    return copy.deepcopy(variant).requires_grad_(True).train()


def _take_over_generator(other: Variant, trained: Variant, parameters: set[nn.Parameter]) -> None:
    names = {name for name, parameter in other.named_parameters() if parameter in parameters}
    names |= {name for name, _ in other.named_buffers() if name.startswith("G.")}
    # Without buffers that are no state, as `persistent=False` declares them.
    other.load_state_dict({name: value for name, value in trained.state_dict().items() if name in names}, strict=False)


def _as(batch: Batch, weights: Sequence[Tensor]) -> Batch:
    """Return a batch in the number format of some weights; labels stay as they are."""
    dtype = weights[0].dtype if weights else batch.real.dtype
    cond = batch.cond.to(dtype) if batch.cond is not None and batch.cond.is_floating_point() else batch.cond
    return Batch(batch.real.to(dtype), cond)


def _gradient_norm(loss: Tensor, weights: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise UserError("no weights have a part in the samples, so there is no gradient to probe")
    return norm_of([gradient for gradient in found if gradient is not None])
