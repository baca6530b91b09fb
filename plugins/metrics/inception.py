"""FID, KID and the Inception score, from the features of the network that they are defined by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from statistics import stdev

import torch
from torch import Tensor

from ganbench import Metric, Scene, UserError, Value, derive, frechet_distance, hookimpl

SUBSETS, SUBSET_SIZE = 100, 1000
SPLITS = 10
ROWS, COLUMNS = 256, 1024  # of a kernel matrix worked on at once: what a processor keeps in its cache


def frechet(name: str, scene: Scene) -> Mapping[str, Value]:
    """Compare the embeddings of generated and reference images (Heusel et al. 2017)."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    distance = frechet_distance(scene.fake.embedding, scene.real.embedding)
    return {name: Value(distance, {"statistics": "mean and covariance with 1/(n-1), float64"})}


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """Return the unbiased estimate of MMD² under the kernel (xᵀy/d + 1)³ of features `[n, d]` and `[m, d]`.

    Bińkowski et al. (2018), eq. 4: pairs of a sample with itself are left out. Products are taken in the features' own
    precision, everything after that in float64. A product of float32 is off by some 1e-7 of itself, one up and another
    down, so that their mean is exact to 1e-8 of the mean of the kernel, mostly to 1e-10. May be negative.
    """
    n, m = len(x), len(y)
    return _within(x) / (n * (n - 1)) + _within(y) / (m * (m - 1)) - 2 * _between(x, y) / (n * m)


def _within(x: Tensor) -> float:
    """Sum the kernel over pairs of different rows; each is looked at from one side only."""
    total = 0.0
    for start in range(0, len(x), ROWS):
        rows, others = x[start : start + ROWS], x[start + ROWS :]
        own = _kernel(rows, rows)
        total += float(own.sum() - own.diagonal().sum()) + 2 * _between(rows, others)
    return total


def _between(x: Tensor, y: Tensor) -> float:
    """Sum the kernel over pairs of a row of each."""
    return sum(float(_kernel(rows, others).sum()) for rows in x.split(ROWS) for others in y.split(COLUMNS))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T).div_(x.shape[1]).double().add_(1).pow_(3)


def kid(scene: Scene) -> Mapping[str, Value]:
    """Average the estimate over random subsets of 1000; of fewer samples than that, one estimate over them all.

    `spread`, from 2000 samples of each set: what new samples would change, by the rule of subsampling. An estimate from
    all n samples varies √(m/n) times as much as one from m; within n given samples, subsets of m vary √(1-m/n) times as
    much; and there are only 100 subsets. Other tools print the standard deviation over the subsets, mostly much more.
    """
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    fake, real = scene.fake.embedding.cpu(), scene.real.embedding.cpu()
    least = min(len(fake), len(real))
    if least < 2:
        raise UserError(f"kid needs at least 2 samples of each set, not {least}")
    if least < SUBSET_SIZE:
        value, spread = squared_mmd(fake, real), None
        rule = f"all samples at once, as one set has fewer than {SUBSET_SIZE}"
    else:
        generator = torch.Generator().manual_seed(derive(scene.seed, "kid"))

        def subset(features: Tensor) -> Tensor:
            return features.index_select(0, torch.randperm(len(features), generator=generator)[:SUBSET_SIZE])

        estimates = [squared_mmd(subset(fake), subset(real)) for _ in range(SUBSETS)]
        value, spread = sum(estimates) / SUBSETS, None
        if least >= 2 * SUBSET_SIZE:
            spread = stdev(estimates) * math.sqrt(SUBSET_SIZE / (least - SUBSET_SIZE) + 1 / SUBSETS)
        rule = f"mean over {SUBSETS} random subsets of {SUBSET_SIZE}"
    precision = "float64 of products in float32"
    protocol = {"estimate": f"unbiased, {rule}", "kernel": "(x·y/d + 1)³", "statistics": precision}
    return {"kid": Value(value, protocol, spread=spread)}


def inception_score(probs: Tensor, splits: int) -> float:
    """Return exp of the mean KL divergence of `probs` `[N, classes]` from their mean, averaged over `splits` parts.

    Salimans et al. (2016). In float64; parts are taken in the order given.
    """
    return sum(scores_of_parts(probs, splits)) / splits


def scores_of_parts(probs: Tensor, splits: int) -> list[float]:
    """Return the score of each part."""
    p, scores = probs.double(), []
    for part in range(splits):
        own = p[part * len(p) // splits : (part + 1) * len(p) // splits]
        mean = own.mean(0)
        # The mean of Σ p log p̄ over samples is Σ p̄ log p̄: half the logarithms.
        divergence = torch.special.xlogy(own, own).sum(1).mean() - torch.special.xlogy(mean, mean).sum()
        scores.append(float(divergence.exp()))
    return scores


def score(scene: Scene) -> Mapping[str, Value]:
    """Score generated images alone; as many real ones score the reference.

    `spread`: standard error of the mean over the parts, as if they were drawn independently. Published "±" are mostly
    the standard deviation over the parts, √10 times as much and a little less.
    """
    probs = scene.fake.probs
    assert probs is not None
    if len(probs) < SPLITS:
        raise UserError(f"is averages over {SPLITS} parts: it needs at least {SPLITS} samples, not {len(probs)}")
    protocol = {
        "splits": f"mean over {SPLITS}, in the order drawn",
        "logits": "without the bias of the last layer",
        "statistics": "float64",
    }
    scores = scores_of_parts(probs.cpu(), SPLITS)
    return {"is": Value(sum(scores) / SPLITS, protocol, spread=stdev(scores) / math.sqrt(SPLITS))}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    costly = partial(Metric, needs=frozenset({"images"}), last_mark_only=True)
    whole = partial(costly, extractor="inception")
    layers = ((64, "first max-pool"), (192, "second max-pool"), (768, "Mixed_6e"))
    return [
        whole(
            "fid",
            partial(frechet, "fid"),
            "Fréchet Inception distance, as torch-fidelity's",
            higher_is_better=False,
            covariance=True,
        ),
        *(
            costly(
                f"fid-{width}",
                partial(frechet, f"fid-{width}"),
                f"Fréchet distance of the {width} features after Inception's {place}; for few samples; not FID",
                extractor=f"inception-{width}",
                higher_is_better=False,
                covariance=True,
            )
            for width, place in layers
        ),
        whole("kid", kid, "kernel Inception distance; unbiased, so that few samples do", higher_is_better=False),
        whole("is", score, "Inception score: distinct and varied ImageNet classes", higher_is_better=True, worst=1.0),
    ]
