"""Measures by nearest neighbours in features: precision, recall, density and coverage; authenticity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ganbench import Count, Features, Metric, Scene, UserError, Value, hookimpl

TILE = 2**22
"""So many distances are held at a time: 32 MiB, whatever the number of samples."""
TIE = 1e-12
"""Squared distances closer than this share of the largest squared norm count as equal.

Rounding of a product of 2048 features in float64 stays below it, so that copies are copies and ties are ties.
"""


@dataclass(frozen=True)
class Config:
    """Options.

    k: a sample's ball reaches to its k-th nearest neighbour in its own set (README of prdc; Kynkäänniemi et al.: 3).
    """

    k: Count = 5


class Cloud(NamedTuple):
    """Features `[n, d]` in float64, and the squares of their norms."""

    rows: Tensor
    squares: Tensor

    @classmethod
    def around(cls, centre: Tensor, features: Tensor) -> Cloud:
        """Take features relative to a centre, so that less of a distance is lost to rounding."""
        rows = features.double() - centre
        return cls(rows, rows.square().sum(1))


def squared_distances(x: Cloud, y: Cloud) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of `x` and their squared distances to all of `y`, a few rows at a time; rounding may leave -1e-12."""
    size = max(1, TILE // max(1, len(y.rows)))
    for start in range(0, len(x.rows), size):
        part = slice(start, start + size)
        yield part, torch.addmm(y.squares, x.rows[part], y.rows.T, alpha=-2).add_(x.squares[part, None])


def squared_radii(cloud: Cloud, k: int) -> Tensor:
    """Return each row's squared distance to its `k`-th nearest other row; the nearest of all rows is itself."""
    return torch.cat([apart.topk(k + 1, largest=False).values[:, -1] for _, apart in squared_distances(cloud, cloud)])


def prdc(fake: Tensor, real: Tensor, k: int) -> Mapping[str, Value]:
    """Return the four measures of features `[m, d]` and `[n, d]`, as the program of Naeem et al. (2020) defines them.

    A ball reaches from a sample to its k-th nearest neighbour in its own set, which lies outside. Precision: share of
    generated samples in a ball of a real one. Recall: share of real samples in a ball of a generated one. Density: mean
    number of balls of real samples that a generated one lies in, over k. Coverage: share of balls of real samples with
    a generated one inside. Spreads of precision and density are those over generated samples.
    Raises `UserError` for fewer than k + 1 samples of either.
    """
    least = min(len(fake), len(real))
    if least <= k:
        raise UserError(f"k = {k} neighbours need at least {k + 1} samples of each set, not {least}")
    centre = real.double().mean(0)
    generated, true = Cloud.around(centre, fake), Cloud.around(centre, real)
    tie = TIE * float(torch.cat([generated.squares, true.squares]).max())
    reach, reach_of_generated = squared_radii(true, k) - tie, squared_radii(generated, k) - tie
    balls, covered, recalled = torch.zeros(len(fake), dtype=torch.int64), 0, 0
    for part, apart in squared_distances(true, generated):
        inside = apart < reach[part, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((apart < reach_of_generated).any(1).sum())
    protocol = {"k": k, "balls": "to the k-th nearest of the others, open", "statistics": "float64"}
    return {
        "precision": _mean((balls > 0).double(), protocol),
        "recall": Value(recalled / len(real), protocol),
        "density": _mean(balls.double() / k, protocol),
        "coverage": Value(covered / len(real), protocol),
    }


def _mean(numbers: Tensor, protocol: Mapping[str, object]) -> Value:
    """Return the mean over samples, and its standard error where there are several."""
    spread = float(numbers.std()) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return Value(float(numbers.mean()), protocol, spread=spread)


def one_of_four(name: str, scene: Scene) -> Mapping[str, Value]:
    """Return one of the four measures; all are computed by the first that is asked for."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    k = (scene.options or Config()).k
    if ("prdc", k) not in scene.memo:
        scene.memo["prdc", k] = prdc(scene.fake.embedding.cpu(), scene.real.embedding.cpu(), k)
    return {name: scene.memo["prdc", k][name]}


def authentic(fake: Tensor, training: Callable[[], Iterable[Features]]) -> tuple[Tensor, int]:
    """Return which of features `[m, d]` are authentic, and how many training samples there are.

    A sample is so unless it lies no farther from the nearest training sample than that one's nearest other training
    sample does (Alaa et al. 2022, by their program). `training` is passed through twice, piece by piece: for the
    nearest of each sample, then for the nearest of those. Raises `UserError` for fewer than 2 training samples.
    """
    centre = fake.double().mean(0)
    generated = Cloud.around(centre, fake)
    nearest, largest = Nearest(generated), float(generated.squares.max())
    for piece in _clouds(training, centre):
        nearest.look_at(piece)
        largest = max(largest, float(piece.squares.max()))
    if nearest.seen < 2:
        raise UserError(f"authenticity needs at least 2 training images, not {nearest.seen}")
    chosen, which = nearest.index.unique(return_inverse=True)
    first = torch.full_like(chosen, len(fake)).scatter_reduce_(0, which, torch.arange(len(fake)), "amin")
    others = Nearest(Cloud.around(torch.zeros_like(centre), nearest.rows[first]), own=chosen)
    for piece in _clouds(training, centre):
        others.look_at(piece)
    return others.squared[which] < nearest.squared - TIE * largest, nearest.seen


def _clouds(training: Callable[[], Iterable[Features]], centre: Tensor) -> Iterator[Cloud]:
    for piece in training():
        assert piece.embedding is not None
        yield Cloud.around(centre, piece.embedding.cpu())


class Nearest:
    """The nearest of other samples, which are shown piece by piece: squared distance, number and features.

    `own`: numbers of the samples themselves among the others, which are left out.
    """

    def __init__(self, samples: Cloud, own: Tensor | None = None) -> None:
        self.samples, self.own, self.seen = samples, own, 0
        self.squared = torch.full((len(samples.rows),), torch.inf, dtype=torch.float64)
        self.index, self.rows = torch.full((len(samples.rows),), -1), torch.empty_like(samples.rows)

    def look_at(self, others: Cloud) -> None:
        """Look whether a piece of the others has nearer ones."""
        for part, apart in squared_distances(self.samples, others):
            if self.own is not None:
                here = self.own[part, None] == self.seen + torch.arange(len(others.rows))
                apart.masked_fill_(here, torch.inf)
            squared, column = apart.min(1)
            rows = (squared < self.squared[part]).nonzero()[:, 0]
            places = rows + part.start
            self.squared[places], self.index[places] = squared[rows], self.seen + column[rows]
            self.rows[places] = others.rows[column[rows]]
        self.seen += len(others.rows)


def authenticity(scene: Scene) -> Mapping[str, Value]:
    """Return the share of samples that are authentic: of copies none, of unseen real images about a half."""
    if scene.training is None:
        raise UserError("authenticity compares with the training images, which are not at hand")
    assert scene.fake.embedding is not None
    found, _ = authentic(scene.fake.embedding.cpu(), scene.training)
    protocol = {
        "authentic": "farther from the nearest training image than that one's nearest other training image",
        "statistics": "float64",
    }
    return {"authenticity": _mean(found.double(), protocol)}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    common = partial(
        Metric,
        extractor="inception",
        any_extractor=True,
        higher_is_better=True,
        worst=0.0,
        needs=frozenset({"images"}),
        last_mark_only=True,
    )
    summaries = {
        "precision": "share of samples close to a real one: realism",
        "recall": "share of real images close to a sample: variety",
        "density": "how many real images a sample is close to: realism, where outliers weigh less; of real images 1",
        "coverage": "share of real images with a sample close by: variety, where outliers weigh less",
    }
    four = [
        common(
            name,
            partial(one_of_four, name),
            summary,
            config=Config(),
            owner="prdc",
            near_reference=name == "density",
        )
        for name, summary in summaries.items()
    ]
    summary = "share of samples that are no closer to a training image than training images are to one another"
    return [*four, common("authenticity", authenticity, summary, near_reference=True)]
