"""MS-SSIM between generated images: how alike they are; lower is more diverse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ganbench import Count, Metric, Scene, UserError, Value, Variant, derive, hookimpl, to_uint8

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BATCH, BATCHES = 64, 5
PART = 64  # pixels of a side that are convolved by one product of matrices
CHUNK = 2**18  # pixels of pairs worked on at once: small enough for the processor's cache
WINDOW = {"window": f"{TAPS} taps cut to the image, sigma {SIGMA} kept", "dtype": "float64"}


@dataclass(frozen=True)
class Config:
    """Options of `ms-ssim-class`.

    pairs: how many of each class are compared, of two different images each.
    """

    pairs: Count = 100


def ms_ssim(images: Tensor, pairs: Tensor) -> Tensor:
    """Return the MS-SSIM of each pair (int64 `[P, 2]`) of uint8 images `[N, C, H, W]`: float64 `[P]`, in [0, 1].

    Wang, Simoncelli & Bovik (2003), mean over channels. Where an image is smaller than the window, the window is cut
    to it and keeps its sigma, so that any size has five scales; negative terms count as 0.
    """
    x = images.double()
    result = torch.ones(len(pairs), x.shape[1], dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x = _halved(x)
        term = _similarity(x, pairs, luminance=scale == len(WEIGHTS) - 1)
        result *= term.relu() ** weight
    return result.mean(1)


def _halved(x: Tensor) -> Tensor:
    """Mean of 2×2 pixels; an odd side is made even by repeating its last line."""
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def _similarity(x: Tensor, pairs: Tensor, *, luminance: bool) -> Tensor:
    """Mean over the image of contrast times structure, and times luminance if asked for: `[P, C]`."""
    mean = _blurred(x)  # once an image; only the product below is a matter of the pair
    square = mean * mean
    variance = _blurred(x * x).sub_(square)
    terms = []
    for i, j in (part.unbind(1) for part in pairs.split(max(1, CHUNK // x[0].numel()))):
        product = mean[i].mul_(mean[j])
        term = _blurred(x[i].mul_(x[j])).sub_(product).mul_(2).add_(C2)
        term /= variance[i].add_(variance[j]).add_(C2)
        if luminance:
            term *= product.mul_(2).add_(C1) / square[i].add_(square[j]).add_(C1)
        terms.append(term.mean((-2, -1)))
    return torch.cat(terms)


def _blurred(x: Tensor) -> Tensor:
    """Convolve with a Gaussian window, one side after the other; only where the window lies inside the image."""
    taps = min(TAPS, *x.shape[-2:])
    position = torch.arange(taps, dtype=x.dtype, device=x.device) - (taps - 1) / 2
    weights = torch.softmax(-(position**2) / (2 * SIGMA**2), 0)
    x = torch.cat([part @ window.T for part, window in _windows(x, -1, weights)], -1)
    return torch.cat([window @ part for part, window in _windows(x, -2, weights)], -2)


def _windows(x: Tensor, axis: int, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield parts of one side of images, each with the matrix that convolves it: many times as fast as conv2d."""
    size, taps = x.shape[axis], len(weights)
    for start in range(0, size - taps + 1, PART):
        part = x.narrow(axis, start, min(PART + taps - 1, size - start))
        place = torch.arange(part.shape[axis], device=x.device)
        tap = place - place[: len(place) - taps + 1, None]
        yield part, torch.where((tap >= 0) & (tap < taps), weights[tap.clamp(0, taps - 1)], 0)


def _all_pairs(scene: Scene) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images drawn at random, and all pairs of different images within each (Fedus et al. 2018, §5.3)."""
    count = len(scene.fake.images)
    size = min(BATCH, count)
    generator = torch.Generator().manual_seed(derive(scene.seed, "ms-ssim"))
    order = torch.randperm(count, generator=generator)
    for rows in order[: BATCHES * BATCH].split(size):
        if len(rows) == size:
            yield rows, torch.combinations(torch.arange(size))


def compute(scene: Scene) -> Mapping[str, Value]:
    """Mean over all pairs of 5 batches of 64, of whatever classes. Raises `UserError` for fewer than 2 images."""
    images = scene.fake.images
    if len(images) < 2:
        raise UserError(f"ms-ssim compares images with one another: it needs at least 2, not {len(images)}")
    batches = [_scores(images[rows.to(images.device)], pairs) for rows, pairs in _all_pairs(scene)]
    means = torch.stack([scores.mean() for scores in batches])  # of equally many pairs each
    rule = f"all pairs within batches of {min(BATCH, len(images))}"
    protocol = {"pairs": rule, "n_pairs": sum(map(len, batches)), **WINDOW}
    spread = float(means.std()) / math.sqrt(len(means)) if len(means) > 1 else None
    return {"ms-ssim": Value(float(means.mean()), protocol, spread=spread)}


def within_classes(scene: Scene) -> Mapping[str, Value]:
    """Mean over classes of the mean over pairs of one class (Odena et al. 2017), from samples of the metric's own.

    `-collapsed`: share of classes whose mean is above that of every class of training images. Of real images in the
    generator's place, and where there are fewer than two for each pair, pairs share images. Raises `UserError` where
    samples are not asked for by label.
    """
    if not scene.conditional:
        raise UserError("ms-ssim-class compares images of one class, but the variant's samples are of no known class")
    if scene.training is None:
        raise UserError("ms-ssim-class compares with the training images, which are not at hand")
    count = (scene.options or Config()).pairs
    training = dict(_training_by_class(scene, 2 * count))
    made = _asked_for(scene.generator(), training, 2 * count, scene.seed) if scene.generator else _own(scene)
    scores, real = ([_in_pairs(images, count, scene.seed) for images in each] for each in (made, training.values()))
    if not scores or not real:
        raise UserError("ms-ssim-class compares images of one class, but of none there are two")
    means = torch.stack([each.mean() for each in scores])
    collapsed = (means > max(float(each.mean()) for each in real)).double().mean()
    protocol = {"pairs": f"{count} within each class of at least 2 training images, mean of classes", **WINDOW}
    spread = float(torch.stack([each.var() for each in scores]).div(count).sum().sqrt()) / len(means)
    rule = {"statistic": "share of classes with a higher mean than every class of training images"}
    return {
        "ms-ssim-class": Value(float(means.mean()), protocol, spread=spread if count > 1 else None),
        "ms-ssim-class-collapsed": Value(float(collapsed), protocol | rule, higher_is_better=False, worst=1),
    }


def _training_by_class(scene: Scene, n: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each class of at least two training images, and `n` of its images drawn at random, or all."""
    assert scene.training is not None
    labels = torch.cat([piece.labels.cpu() for piece in scene.training() if piece.labels is not None])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive(scene.seed, "ms-ssim-class")))
    rows = [order[labels[order] == label][:n] for label in range(scene.data.classes)]
    chosen, kept, start = torch.cat(rows).sort().values, [], 0
    for piece in scene.training():
        inside = chosen[(chosen >= start) & (chosen < start + len(piece.images))]
        kept.append(piece.images[(inside - start).to(piece.images.device)])
        start += len(piece.images)
    images = torch.cat(kept)
    for label in range(scene.data.classes):
        mine = images[(labels[chosen] == label).to(images.device)]
        if len(mine) > 1:
            yield label, mine


@torch.no_grad()
def _asked_for(variant: Variant, labels: Iterable[int], n: int, seed: int) -> Iterator[Tensor]:
    """Yield `n` samples of each class, quantised. Raises `UserError` where one is not finite."""
    device = variant.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "ms-ssim-class", "samples"))
        for label in labels:
            samples = variant.sample(n, torch.full((n,), label, device=device))
            if not bool(samples.isfinite().all()):
                raise UserError(f"{variant.name} generates values of class {label} that are not finite")
            yield to_uint8(samples)


def _own(scene: Scene) -> Iterator[Tensor]:
    """Yield the images of each class of two or more among those that stand for generated ones."""
    images, labels = scene.fake.images, scene.fake.labels
    assert labels is not None
    for label in range(scene.data.classes):
        if int((labels == label).sum()) > 1:
            yield images[labels == label]


def _in_pairs(images: Tensor, count: int, seed: int) -> Tensor:
    """Score pairs of different images, `[count]`, each image in one of them if there are enough."""
    n = len(images)
    if n >= 2 * count:
        return _scores(images[: 2 * count], torch.arange(2 * count).view(count, 2))
    generator = torch.Generator().manual_seed(derive(seed, "ms-ssim-class", "pairs"))
    first = torch.randint(n, (count,), generator=generator)
    other = (first + torch.randint(1, n, (count,), generator=generator)) % n
    return _scores(images, torch.stack([first, other], 1))


def _scores(images: Tensor, pairs: Tensor) -> Tensor:
    images = images if images.is_cuda else images.cpu()  # not every accelerator knows float64
    return ms_ssim(images, pairs.to(images.device)).cpu()


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="ms-ssim",
            compute=compute,
            summary="how alike generated images are (five scales, any size); lower is more diverse",
            higher_is_better=False,
            needs=frozenset({"images"}),
            near_reference=True,
            worst=1,
        ),
        Metric(
            name="ms-ssim-class",
            compute=within_classes,
            summary="how alike generated images of one class are, and the share of classes that collapsed",
            higher_is_better=False,
            needs=frozenset({"images", "labels", "generator"}),
            last_mark_only=True,
            config=Config(),
            near_reference=True,
            worst=1,
        ),
    ]
