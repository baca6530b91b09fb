"""A linear classifier on D's features: what the discriminator has learnt of classes that nobody told it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from ganbench import Count, Features, Metric, Positive, Scene, UserError, Value, Variant, derive, hookimpl, to_float

SIDE = 4
"""Maps are pooled to a square of this side, after Radford et al. (2016, from memory, unchecked); smaller ones stay."""
CHUNK = 256
EPOCHS = 10_000
"""Passes of the solver over the training images, at most; a hundred or so are enough."""


@dataclass(frozen=True)
class Config:
    """Options.

    images: training images that the classifier learns, and test images that it is measured by, at most so many of each.
    cost: of an error as against large weights: C of the support vector machine, for features of length one.
    """

    images: Count = 2000
    cost: Positive = 1.0


Extract = Callable[[Tensor], Tensor]
"""Maps uint8 images to float32 features `[n, d]` on the host."""


def of_network(network: nn.Module) -> Extract:
    """Return what takes the features of all convolutions of a network, or of its linear layers if it has none.

    Raises `UserError` where it has neither, or does not take images alone.
    """
    kind = nn.Conv2d if any(isinstance(layer, nn.Conv2d) for layer in network.modules()) else nn.Linear
    layers = [layer for layer in network.modules() if isinstance(layer, kind)]
    device = next(network.parameters()).device

    def extract(images: Tensor) -> Tensor:
        found: list[Tensor] = []
        hooks = [layer.register_forward_hook(lambda _, __, out: found.append(_pooled(out))) for layer in layers]
        try:
            with torch.no_grad():
                network(to_float(images.to(device)))
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise UserError(f"D does not take images alone ({str(error).splitlines()[0]})") from None
        finally:
            for hook in hooks:
                hook.remove()
        if not found or {len(each) for each in found} != {len(images)}:
            raise UserError("D has no layer with a feature of each image")
        return torch.cat(found, 1).float().cpu()

    return extract


def of_pixels(images: Tensor) -> Tensor:
    """Take the pixels themselves."""
    return to_float(images.cpu()).flatten(1)


def _pooled(out: Tensor) -> Tensor:
    """Maximum over each part of a map `[n, c, h, w]`, as 4×4 of them; units `[n, d]` as they are."""
    if out.ndim == 4:
        out = adaptive_max_pool2d(out, [min(SIDE, side) for side in out.shape[-2:]])
    return out.flatten(1)


def accuracy(extract: Extract, train: Features, test: Features, cost: float) -> float:
    """Return the share of test images whose class a linear support vector machine tells after the training images.

    Squared hinge loss, each class against the rest. Features are standardised over the training images, and scaled so
    that those of an image have length one. Raises `UserError` where they are not finite or the solver does not end.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes a second, and is needed at the end of a run only
    from sklearn.svm import LinearSVC

    assert train.labels is not None and test.labels is not None
    learnt, unseen = (
        torch.cat([extract(part) for part in each.images.split(CHUNK)]).double() for each in (train, test)
    )
    if not (learnt.isfinite().all() and unseen.isfinite().all()):
        raise UserError("some features of D are not finite")
    mean, size = learnt.mean(0), learnt.square().mean(0).sqrt()
    # What differs by rounding alone, as the corners of digits do, is not blown up to the size of a feature.
    deviation = learnt.std(0, correction=0).maximum(1e-5 * size).clamp(min=1e-30)
    learnt, unseen = (each.sub_(mean).div_(deviation * math.sqrt(len(mean))) for each in (learnt, unseen))
    machine = LinearSVC(C=cost, dual=True, max_iter=EPOCHS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            machine.fit(learnt.numpy(), train.labels.numpy())
        except ConvergenceWarning:
            raise UserError(f"the classifier has not settled after {EPOCHS} passes: lower linear-probe.cost") from None
    return float((machine.predict(unseen.numpy()) == test.labels.numpy()).mean())


def drawn(pieces: Iterable[Features], n: int, seed: int) -> Features:
    """Draw `n` images and labels at random of those that come in pieces, on the host; all where there are fewer."""
    generator = torch.Generator().manual_seed(seed)
    kept: tuple[Tensor, Tensor, Tensor] | None = None
    for piece in pieces:
        assert piece.labels is not None
        lot = torch.rand(len(piece.images), generator=generator, dtype=torch.float64)
        mine = (lot, piece.images.cpu(), piece.labels.cpu())
        kept = mine if kept is None else tuple(map(torch.cat, zip(kept, mine, strict=True)))  # type: ignore[assignment]
        assert kept is not None
        best = kept[0].argsort()[:n]  # the n least lots so far
        kept = kept[0][best], kept[1][best], kept[2][best]
    if kept is None:
        raise UserError("linear-probe trains a classifier, and there are no training images")
    return Features(kept[1], labels=kept[2])


def discriminator_of(variant: Variant) -> nn.Module:
    """Return the network `D`. Raises `UserError` where there is none."""
    network = getattr(variant, "D", None)
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        raise UserError(f"{variant.name} has no discriminator D")
    return network.eval()


def linear_probe(scene: Scene) -> Mapping[str, Value]:
    """Accuracy of a linear classifier on D's features (after Radford et al. 2016), of the test images.

    `-random`: on those of the same D before its first step; `-pixels`: on the pixels. Raises `UserError` where there is
    no D or it does not judge images alone.
    """
    if scene.training is None or scene.generator is None or scene.fresh is None:
        raise UserError("linear-probe looks at a trained D and at training images, which are not at hand")
    options = scene.options or Config()
    networks = {"": discriminator_of(scene.generator()), "-random": discriminator_of(scene.fresh())}
    ways = {name: of_network(network) for name, network in networks.items()} | {"-pixels": of_pixels}
    train = drawn(scene.training(), options.images, derive(scene.seed, "linear-probe", "train"))
    test = drawn([scene.real], options.images, derive(scene.seed, "linear-probe", "test"))
    assert train.labels is not None and test.labels is not None
    if len(train.labels.unique()) < 2:
        raise UserError("linear-probe tells classes apart, but the training images drawn are of one")
    protocol = {
        "classifier": f"linear SVM, squared hinge loss, C {options.cost:g}, features standardised and of length one",
        "n_test": len(test.images),
        "images": f"{options.images} of each split at most",
    }
    seen = {"": f"convolutions of D, each as its maxima over {SIDE}×{SIDE} parts", "-pixels": "pixels"}
    seen["-random"] = f"{seen['']}, before the first step"
    values = {}
    for name, extract in ways.items():
        share = accuracy(extract, train, test, options.cost)
        spread = math.sqrt(share * (1 - share) / len(test.images))
        values[f"linear-probe{name}"] = Value(share, {"features": seen[name], **protocol}, spread=spread)
    return values


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="linear-probe",
            compute=linear_probe,
            summary="accuracy of a linear classifier on D's features, beside a random D's and pixels",
            higher_is_better=True,
            needs=frozenset({"images", "labels", "generator"}),
            samples=False,
            last_mark_only=True,
            config=Config(),
            worst=0,
        )
    ]
