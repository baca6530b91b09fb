"""MS-SSIM between generated images: how alike they are; lower is more diverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ganbench import Metric, Scene, UserError, Value, derive, hookimpl

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BATCH, BATCHES, PER_CLASS = 64, 5, 100
PART = 64  # pixels of a side that are convolved by one product of matrices
CHUNK = 2**18  # pixels of pairs worked on at once: small enough for the processor's cache


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


def _pairs_of_class(scene: Scene, labels: Tensor, label: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random pairs of different images of one class (Odena et al. 2017), a few at a time."""
    members = (labels.cpu() == label).nonzero()[:, 0]
    if len(members) < 2:
        raise UserError(f"ms-ssim compares images of one class, but there are {len(members)} of class {label}")
    generator = torch.Generator().manual_seed(derive(scene.seed, "ms-ssim", label))
    first = torch.randint(len(members), (PER_CLASS,), generator=generator)
    other = (first + torch.randint(1, len(members), (PER_CLASS,), generator=generator)) % len(members)
    for i, j in zip(first.split(BATCH // 2), other.split(BATCH // 2), strict=True):
        yield members[torch.cat([i, j])], torch.arange(2 * len(i)).view(2, -1).T


def compute(scene: Scene) -> Mapping[str, Value]:
    """Mean over all pairs of 5 batches of 64; over 100 pairs a class where samples were asked for by label."""
    images, labels = scene.fake.images, scene.fake.labels
    if len(images) < 2:
        raise UserError(f"ms-ssim compares images with one another: it needs at least 2, not {len(images)}")
    if scene.conditional and labels is not None:
        groups = [_pairs_of_class(scene, labels, label) for label in range(scene.data.classes)]
        rule = f"{PER_CLASS} random pairs within each of {scene.data.classes} classes"
    else:
        groups = [_all_pairs(scene)]
        rule = f"all pairs within batches of {min(BATCH, len(images))}"
    scores = torch.cat([_scores(images, rows, pairs) for group in groups for rows, pairs in group])
    protocol = {
        "pairs": rule,
        "n_pairs": len(scores),
        "window": f"{TAPS} taps cut to the image, sigma {SIGMA} kept",
        "dtype": "float64",
    }
    return {"ms-ssim": Value(float(scores.mean()), protocol)}  # groups are equally large: also the mean of their means


def _scores(images: Tensor, rows: Tensor, pairs: Tensor) -> Tensor:
    chosen = images[rows.to(images.device)]
    chosen = chosen if chosen.is_cuda else chosen.cpu()  # not every accelerator knows float64
    return ms_ssim(chosen, pairs.to(chosen.device)).cpu()


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="ms-ssim",
            compute=compute,
            summary="how alike generated images are (five scales, any size); lower is more diverse",
            higher_is_better=False,
            needs=frozenset({"images"}),
        )
    ]
