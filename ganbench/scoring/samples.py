"""Samples to be scored: of a generator, or real images in its place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Splits, to_float, to_uint8
from ganbench.contract.experiments import Made
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError
from ganbench.seeds import derive, seed_device
from ganbench.training.guard import marks_of, require_sound_samples
from ganbench.training.switches import kept

CHUNK = 256
"""Samples are drawn and features extracted so many at a time, always, because rounding may depend on it."""

MOST_REACH = 2.0
"""Values of images lie in [-1, 1]; what goes beyond this is in another range, [0, 255] for one, not too bright."""


class NotFinite(ArithmeticError):
    """A generator gave NaN or infinity."""


def generate(
    variant: Variant,
    n: int,
    data: Splits,
    *,
    seed: int,
    purpose: str = "evaluate",
    back: bool = False,
    reach: float = MOST_REACH,
) -> ImageSet:
    """Draw `n` samples, as `drawn` does, in one set."""
    pieces = list(drawn(variant, n, data, seed=seed, purpose=purpose, back=back, reach=reach))
    labels = [piece.cond for piece in pieces if piece.cond is not None]
    return ImageSet(torch.cat([piece.images for piece in pieces]), torch.cat(labels) if labels else None)


@torch.no_grad()
def drawn(
    variant: Variant,
    n: int,
    data: Splits,
    *,
    seed: int,
    purpose: str = "evaluate",
    back: bool = False,
    reach: float = MOST_REACH,
    label: int | None = None,
) -> Iterator[ImageSet]:
    """Draw `n` samples on the variant's device and yield them, quantised, on the host, `CHUNK` at a time.

    Labels come from the training split unless one `label` is asked for; what is translated are the first test images of
    the source, in order. Equal seeds give equal latents whatever the variant. `reach`: how large the values of an image
    may be; up to there they are clamped. Raises `NotFinite`, `UserError` beyond that reach, and `Unfair` where sampling
    changes the variant. Whoever takes the pieces may draw no random numbers in between.
    """
    train = data.train
    if isinstance(variant, Control):
        taken = _drawn(variant, n, train, derive(seed, purpose))
        for rows in torch.arange(n).split(CHUNK):
            yield ImageSet(taken.images[rows], None if taken.cond is None else taken.cond[rows])
        return
    labels = None
    if variant.task == "label" and train.cond is not None:
        generator = torch.Generator().manual_seed(derive(seed, purpose, "labels"))
        labels = train.cond[torch.randint(len(train.cond), (n,), generator=generator)]
        labels = labels if label is None else torch.full_like(labels, label)
    conditions = labels
    if data.domain is not None:
        conditions = to_float(data.domain.test[:n])
        n = len(conditions)
    before = marks_of(variant)
    seed_device(variant.device, derive(seed, purpose))
    for start in range(0, n, CHUNK):
        stop = min(n, start + CHUNK)
        cond = None if conditions is None else conditions[start:stop].to(variant.device)
        with kept():
            samples = variant.sample(stop - start, cond, **({"reverse": True} if back else {}))
        if not bool(torch.isfinite(samples).all()):
            raise NotFinite(f"{variant.name} generates values that are not finite")
        if samples.ndim == 4 and (largest := float(samples.abs().max())) > reach:
            raise UserError(
                f"{variant.name}: sample({stop - start}) reaches {largest:.4g} in magnitude; images lie in [-1, 1]: "
                f"end G with Tanh, or clamp in sample"
            )
        yield ImageSet(to_uint8(samples).cpu(), None if labels is None else labels[start:stop])
    require_sound_samples(variant.name, before, marks_of(variant))


def samples_at(made: Made, share: float, n: int) -> ImageSet:
    """Draw the first `n` samples of a run's evaluation at a share of its budget; 0 is before its first step.

    Raises as `drawn`, and `UserError` where the weights of that share were not kept.
    """
    variant = made.at(share) if share else made.fresh().eval()
    return generate(variant, n, made.data, seed=made.record.spec.seed)


def require_asked(name: str, samples: Tensor, n: int, like: Tensor) -> None:
    """Raise `UserError` where samples are not `n` of the shape and type of real ones."""
    found, right = tuple(samples.shape), (n, *like.shape[1:])
    if found != right:
        raise UserError(f"{name} gives samples of the shape {found} where {right} was asked for: see `sample(n, cond)`")
    if samples.dtype != like.dtype:
        raise UserError(f"{name} gives samples of {samples.dtype}; it must be {like.dtype}")


def _drawn(control: Control, n: int, train: ImageSet, seed: int) -> ImageSet:
    total, generator = len(train.images), torch.Generator().manual_seed(seed)
    chosen = control.rows(*control_rows(total, n))
    order = torch.randperm(len(chosen), generator=generator)[:n]
    if len(order) < n:
        raise UserError(f"{control.name} has {len(chosen)} training images to draw from, not {n}: lower --samples")
    rows = chosen[order]
    return ImageSet(train.images[rows], None if train.cond is None else train.cond[rows])


def real_samples(images: ImageSet, n: int) -> ImageSet:
    """Return at most `n` training images that stand for generated ones."""
    rows = control_order(len(images.images))[:n]
    return ImageSet(images.images[rows], None if images.cond is None else images.cond[rows])


def control_order(total: int) -> Tensor:
    """Return the order in which images of a training split are taken to stand for generated ones."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(derive(0, "control")))


def control_rows(total: int, samples: int) -> tuple[Tensor, Tensor]:
    """Divide the rows of a training split, the same for all runs: those that controls learn by heart, and those that
    stand for real images that nobody has seen, twice as many as `samples` but at most half.

    Trained variants are served all of them.
    """
    order = control_order(total)
    unseen = min(2 * samples, total // 2)
    return order[unseen:], order[:unseen]
