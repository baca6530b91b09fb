"""Metrics of samples beside their references: generators of lines of the table that `validation.py` makes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.spatial
import scipy.stats
import sklearn.metrics
import torch
from ganbench_plugins.metrics.copies import ONE_IN
from ganbench_plugins.metrics.extrapolated import Config as Points, sizes
from ganbench_plugins.metrics.inception import SPLITS, SUBSET_SIZE, SUBSETS
from ganbench_plugins.metrics.ms_ssim import Config as Pairs
from ganbench_plugins.metrics.vit import SCALE, SIGMA
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from validation_references import (
    authentic,
    averaged,
    copied,
    frechet_by,
    frechet_by_matrix_root,
    frechet_by_products,
    named,
    package,
    polynomial_kernel,
    quietly,
)
from validation_scenes import Line, Lines, World, told

from ganbench import Features, UserError, derive

FRECHET = 1e-5
"""Of a Fréchet distance: ganbench finds it to 1e-7 of the sum of the variances, of which it is a hundredth or more."""
SHARES = 1e-12
"""Of values that count samples: nothing but the rounding of a quotient may differ."""
KERNEL = 1e-7
"""Of the mean of KID's kernel, of whose means KID is a small difference; the products are float32's."""
WHOLE = 176
"""From this side on each of the five scales of MS-SSIM is as large as its window, so that programs agree."""


def pixels(world: World, name: str) -> Lines:
    """The Fréchet distance of pixels, from images on."""
    fake, real = world.features(name, "pixels")
    rows = [averaged(each.images, min(16, *each.images.shape[2:])) for each in (fake, real)]
    value = world.measure("fd-pixels", name, fake, real)["fd-pixels"]
    yield Line(
        "fd-pixels", named("scipy", "sqrtm"), told(name, fake, real), value, frechet_by_matrix_root(*rows), FRECHET
    )


def pixel_error(world: World, name: str) -> Lines:
    """The error of other images of the set as translations."""
    fake, real = (Features(*each[:1]) for each in world.pair(name))
    n = min(len(fake.images), len(real.images))
    fake, real = Features(fake.images[:n]), Features(real.images[:n])
    value = world.measure("pixel-error", name, fake, real)["pixel-error"]
    theirs = sklearn.metrics.mean_absolute_error(*(each.images.flatten().double() / 255 for each in (real, fake)))
    yield Line("pixel-error", named("scikit-learn"), told(name, fake, real), value, theirs, 1e-9)


def distance(world: World, name: str, metric: str, extractor: str, reference: str) -> Lines:
    """A Fréchet distance of features."""
    fake, real = world.features(name, extractor)
    both = fake.embedding, real.embedding
    if reference == "scipy":
        theirs = frechet_by_matrix_root(*both)
    else:
        theirs = frechet_by("pytorch_fid.fid_score", "calculate_frechet_distance", *both)
    by = named(reference, "sqrtm" if reference == "scipy" else "")
    value = world.measure(metric, name, fake, real)[metric]
    label = metric if metric == "fd-classifier" else f"{metric}, its distance"
    yield Line(label, by, told(name, fake, real, extractor), value, theirs, FRECHET)


def by_class(world: World, name: str, extractor: str) -> Lines:
    """Fréchet distances within classes, their mean and the largest."""
    fake, real = world.features(name, extractor)
    values = world.measure("fid-class", name, fake, real, conditional=True)
    found = []
    for label in np.unique(real.labels):
        own, theirs = (each.embedding[each.labels == int(label)] for each in (fake, real))
        if min(len(own), len(theirs)) >= world.metrics["fid-class"].config.least:
            found.append(frechet_by_products(own, theirs))
    where, by = told(name, fake, real, extractor), named("scipy", "svdvals of products")
    yield Line("fid-class", by, where, values["fid-class"], float(np.mean(found)), FRECHET)
    yield Line("fid-class-worst", by, where, values["fid-class-worst"], max(found), FRECHET)


def accuracy(world: World, name: str) -> Lines:
    """The share of images that the classifier takes for what they are."""
    fake, real = world.features(name, "classifier")
    value = world.measure("class-accuracy", name, fake, real, conditional=True)["class-accuracy"]
    theirs = sklearn.metrics.accuracy_score(fake.labels, fake.probs.argmax(1))
    yield Line("class-accuracy", named("scikit-learn"), told(name, fake, real), value, theirs, SHARES)


def extrapolated(world: World, name: str, extractor: str) -> Lines:
    """The line through distances of the same subsets."""
    fake, real = world.features(name, extractor)
    found = world.values("fid-inf", name, fake, real)["fid-inf"]
    generator, ns = torch.Generator().manual_seed(derive(0, "fid-inf")), sizes(len(fake.images), Points().points)
    subsets = [fake.embedding[torch.randperm(len(fake.images), generator=generator)[:n]] for n in ns]
    distances = [frechet_by_matrix_root(each, real.embedding) for each in subsets]
    fit = scipy.stats.linregress(1 / np.array(ns), distances)
    where = told(name, fake, real, f"{extractor}, {len(ns)} subsets")
    yield Line(
        "fid-inf",
        named("scipy", "linregress"),
        where,
        found.value,
        fit.intercept,
        FRECHET * max(distances),
        absolute=True,
    )
    yield Line("fid-inf, its spread", named("scipy", "linregress"), where, found.spread, fit.intercept_stderr, 1e-4)


def kid_of_all(world: World, name: str, extractor: str) -> Lines:
    """So many images that there is one subset, all of them: the estimator alone."""
    fake, real = world.features(name, extractor)
    n = min(SUBSET_SIZE, len(fake.images), len(real.images))
    fake, real = (Features(each.images[:n], each.embedding[:n]) for each in (fake, real))
    value = world.measure("kid", name, fake, real)["kid"]
    with quietly():
        found = kid_features_to_metric(
            fake.embedding.double(), real.embedding.double(), kid_subsets=1, kid_subset_size=n, verbose=False
        )
    theirs = found["kernel_inception_distance_mean"]
    size = polynomial_kernel(*(each.embedding.double().numpy() for each in (fake, real)))
    where = told(name, fake, real, extractor)
    yield Line("kid", named("torch-fidelity"), where, value, theirs, KERNEL * size, absolute=True)


def kid_of_subsets(world: World, name: str, extractor: str) -> Lines:
    """Each side draws a hundred subsets of its own: within four standard errors of a difference of their means."""
    fake, real = world.features(name, extractor)
    if min(len(fake.images), len(real.images)) < SUBSET_SIZE:
        raise UserError(f"subsets of {SUBSET_SIZE} need as many images of each split")
    value = world.measure("kid", name, fake, real)["kid"]
    with quietly():
        found = kid_features_to_metric(
            fake.embedding, real.embedding, kid_subsets=SUBSETS, kid_subset_size=SUBSET_SIZE, verbose=False
        )
    deviation = found["kernel_inception_distance_std"]
    where = told(name, fake, real, f"{extractor}, {SUBSETS} subsets of each side's own")
    theirs, tolerance = found["kernel_inception_distance_mean"], 4 * deviation * (2 / SUBSETS) ** 0.5
    yield Line("kid", named("torch-fidelity"), where, value, theirs, tolerance, absolute=True)


def score(world: World, name: str) -> Lines:
    """The Inception score of the classifier's probabilities."""
    fake, real = world.features(name, "classifier")
    found = world.values("is", name, fake, real)["is"]
    n = len(fake.probs) // SPLITS * SPLITS  # torch-fidelity rounds its parts otherwise where they are not equal
    if n < len(fake.probs):
        found = world.values("is", name, fake._replace(probs=fake.probs[:n]), real)["is"]
    logits = fake.probs[:n].double().clamp(min=1e-300).log()
    theirs = isc_features_to_metric(logits, splits=SPLITS, shuffle=False)
    where = told(name, fake, real, f"classifier, {n} of the former")
    mean, error = theirs["inception_score_mean"], theirs["inception_score_std"] / (SPLITS - 1) ** 0.5
    yield Line("is, its score", named("torch-fidelity"), where, found.value, mean, 1e-6)
    yield Line("is, its spread", named("torch-fidelity"), where, found.spread, error, 1e-6)


def neighbours(world: World, name: str, extractor: str) -> Lines:
    """Precision, recall, density and coverage."""
    function = package("prdc").compute_prdc
    fake, real = world.features(name, extractor)
    k = world.metrics["precision"].config.k
    with quietly():
        theirs = function(real.embedding.double().numpy(), fake.embedding.double().numpy(), k)
    memo: dict[Any, Any] = {}
    for metric in ("precision", "recall", "density", "coverage"):
        value = world.measure(metric, name, fake, real, memo=memo)[metric]
        yield Line(
            metric, named("prdc"), told(name, fake, real, f"{extractor}, k = {k}"), value, theirs[metric], SHARES
        )


def half_copied(world: World, name: str, extractor: str | None) -> tuple[Features, Features, Features]:
    """Return samples, reference and training images: half of the samples are among the latter, half nobody has seen."""
    fake, real = world.features(name, extractor) if extractor else map(Features, *zip(*world.pair(name), strict=True))
    seen, unseen = len(fake.images) // 2, len(fake.images) // 4
    rows = torch.cat([torch.arange(unseen), torch.arange(seen, seen + unseen)])
    return _rows(fake, rows), real, _rows(fake, torch.arange(seen))


def _rows(features: Features, rows: Tensor) -> Features:
    return Features(*(None if each is None else each[rows] for each in features))


def memorised(world: World, name: str, extractor: str) -> Lines:
    """Authenticity, of samples half of which are training images."""
    fake, real, training = half_copied(world, name, extractor)
    scene = {"training": lambda: iter([training])}
    value = world.measure("authenticity", name, fake, real, **scene)["authenticity"]
    theirs = authentic(fake.embedding.double().numpy(), training.embedding.double().numpy())
    by = f"formula of Alaa et al., {named('scikit-learn', 'NearestNeighbors')}"
    where = f"{name}, {len(fake.images)} beside {len(training.images)} train, {extractor}"
    yield Line("authenticity", by, where, value, theirs, SHARES)


def copies(world: World, name: str) -> Lines:
    """Copies, of samples half of which are training images."""
    fake, real, training = half_copied(world, name, None)
    scene = {"training": lambda: iter([training])}
    value = world.measure("copies", name, fake, real, **scene)["copies"]
    theirs = copied(fake.images, real.images, training.images, min(16, *real.images.shape[2:]), ONE_IN)
    where = f"{name}, {len(fake.images)} beside {len(training.images)} train, {len(real.images)} test"
    yield Line("copies", named("scikit-learn", "NearestNeighbors"), where, value, theirs, SHARES)


def discrepancy(world: World, name: str, extractor: str) -> Lines:
    """The discrepancy of CMMD, of other features of length one."""
    fake, real = world.features(name, extractor)
    fake, real = (Features(each.images, F.normalize(each.embedding)) for each in (fake, real))
    value = world.measure("cmmd", name, fake, real)["cmmd"]
    x, y = (each.embedding.double().numpy() for each in (fake, real))
    kernel = partial(sklearn.metrics.pairwise.rbf_kernel, gamma=1 / (2 * SIGMA**2))
    theirs = SCALE * (kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean())
    by = named("scikit-learn", "rbf_kernel")
    yield Line("cmmd, its discrepancy", by, told(name, fake, real, extractor), value, theirs, 1e-6)


def modes(world: World, name: str) -> Lines:
    """Modes and evenness of triples of digits, by the same classifier's probabilities."""
    data = world.splits(name)
    fake, real = world.features(name, data.modes.extractor)
    digits = fake.probs.numpy().reshape(-1, 3, 10).argmax(2)
    counts = np.unique(digits @ [100, 10, 1], return_counts=True)[1]
    found = np.pad(counts, (0, data.modes.count - len(counts)))
    theirs = {
        "modes": len(counts),
        "modes-5": int((counts >= 5).sum()),
        "mode-kl": scipy.stats.entropy(found, np.full(data.modes.count, 1 / data.modes.count)),
    }
    values = world.measure("modes", name, fake, real, modes=data.modes)
    values |= world.measure("mode-kl", name, fake, real, modes=data.modes)
    for metric, value in theirs.items():
        yield Line(metric, named("scipy", "entropy"), told(name, fake, real), values[metric], value, 1e-9)


def points(world: World, name: str) -> Lines:
    """Modes and quality of points of a mixture, the half of them moved off their modes."""
    data = world.splits(name)
    fake, real = (Features(each.images) for each in world.pair(name))
    generator = torch.Generator().manual_seed(0)
    moved = fake.images + 2 * data.modes.sigma * torch.randn(fake.images.shape, generator=generator)
    fake = Features(torch.cat([fake.images[::2], moved[1::2]]))
    far, index = scipy.spatial.cKDTree(data.modes.centres.numpy()).query(fake.images.double().numpy())
    counts = np.bincount(index[far < 3 * data.modes.sigma], minlength=data.modes.count)
    theirs = {
        "modes": np.count_nonzero(counts),
        "high-quality": counts.sum() / len(far),
        "mode-kl": scipy.stats.entropy(counts, np.full(len(counts), 1 / len(counts))),
    }
    for metric, value in theirs.items():
        ours = world.measure(metric, name, fake, real, modes=data.modes)[metric]
        where = f"points of {name}, {len(far)}, every other one moved"
        yield Line(metric, named("scipy", "cKDTree, entropy"), where, ours, value, 1e-9)


def enlarged(images: Tensor) -> Tensor:
    return F.interpolate(images.float(), (WHOLE, WHOLE), mode="bicubic").round().clamp(0, 255).to(torch.uint8)


WINDOWS = {"piq": 1e-9, "pytorch-msssim": 1e-4}
"""Packages that know MS-SSIM as it was defined, and tolerances: the window of the latter is rounded to float32.

torchmetrics' is another: its last scale counts the margin, where the window is filled up with mirrored pixels.
"""


def pairwise(by: str, x: Tensor, y: Tensor) -> Tensor:
    """Return the MS-SSIM of images `[P, C, H, W]` and `[P, C, H, W]` by a package."""
    if by == "piq":
        return package("piq").multi_scale_ssim(x.double(), y.double(), data_range=255, reduction="none")
    return package("pytorch_msssim").ms_ssim(x.double(), y.double(), data_range=255, size_average=False)


def similarity(world: World, name: str, by: str) -> Lines:
    """MS-SSIM of all pairs of images enlarged until programs agree on what it is."""
    images = enlarged(world.pair(name)[0].images[:12])
    i, j = torch.combinations(torch.arange(len(images))).T
    with quietly():
        theirs = pairwise(by, images[i], images[j]).mean()
    value = world.measure("ms-ssim", name, Features(images), Features(images))["ms-ssim"]
    where = f"{name}, {len(i)} pairs, enlarged to {WHOLE} px"
    yield Line("ms-ssim", named(by), where, value, float(theirs), WINDOWS[by])


def similarity_in_classes(world: World, name: str, by: str) -> Lines:
    """The same of pairs of one class."""
    (images, labels, _), _ = world.pair(name)
    rows = [(labels == label).nonzero()[:6, 0] for label in (0, 1, 2)]
    chosen, kinds = enlarged(images[torch.cat(rows)]), labels[torch.cat(rows)]
    fake, count = Features(chosen, labels=kinds), 3
    scene = {"conditional": True, "training": lambda: iter([fake]), "options": Pairs(pairs=count)}
    value = world.measure("ms-ssim-class", name, fake, fake, **scene)["ms-ssim-class"]
    with quietly():
        theirs = pairwise(by, chosen[::2], chosen[1::2]).mean()
    where = f"{name}, {count} pairs of each of {len(rows)} classes, enlarged to {WHOLE} px"
    yield Line("ms-ssim-class", named(by), where, value, float(theirs), WINDOWS[by])
