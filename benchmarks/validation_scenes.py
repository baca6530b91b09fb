"""Real images as ganbench loads them, and what a metric says of them beside what a reference says."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ganbench_plugins.metrics
import numpy as np
import torch

from ganbench import Features, ImageSet, Metric, Scene, Splits, Value, read_image
from ganbench.runs.registry import Registry, discover
from ganbench.scoring.samples import CHUNK

CPU = torch.device("cpu")
SIDES = {"digits": 8, "mnist": 28, "cifar10": 32, "celeba": 64, "stacked-mnist": 28, "ring": 0, "grid": 0}


@dataclass(frozen=True)
class Line:
    """A value beside its reference. `tolerance`: of the difference, as a share of the reference unless `absolute`."""

    metric: str
    reference: str
    images: str
    ours: float
    theirs: float
    tolerance: float
    absolute: bool = False

    @property
    def gap(self) -> float:
        """How far the values lie apart."""
        return abs(self.ours - self.theirs)

    @property
    def share(self) -> float:
        """The same as a share of the reference."""
        return self.gap / abs(self.theirs) if self.theirs else math.inf if self.gap else 0.0

    @property
    def name(self) -> str:
        """The name of the value, without what of it is compared."""
        return self.metric.partition(",")[0]

    @property
    def met(self) -> bool:
        """Whether the difference is within the tolerance; that of what is no number is not."""
        return (self.gap if self.absolute else self.share) <= self.tolerance


Lines = Iterator[Line]


def metrics() -> dict[str, Metric]:
    """All metrics that come with ganbench, by name."""
    names = [module.name for module in pkgutil.iter_modules(ganbench_plugins.metrics.__path__)]
    modules = [importlib.import_module(f"ganbench_plugins.metrics.{name}") for name in names]
    return {metric.name: metric for module in modules for metric in module.ganbench_metrics()}


class World:
    """The images that there are, as ganbench loads them.

    `n`: of each split at most; half as many where features are those of the Inception network. `deep`: of those that go
    through a reference of that network as well.
    """

    def __init__(self, root: Path, weights: Path | None, n: int, deep: int) -> None:
        self.root, self.weights, self.n, self.deep = root, weights, n, deep
        self.registry: Registry = discover()
        self.metrics = metrics()
        self.splits, self.features = cache(self._splits), cache(self._features)

    def _splits(self, name: str) -> Splits:
        return loaded(name, self.root, self.registry)

    def pair(self, name: str, n: int = 0) -> tuple[ImageSet, ImageSet]:
        """Return training images, which stand for generated ones, and test images, both drawn at random."""
        data, n = self.splits(name), n or self.n
        return _drawn(data.train, n), _drawn(data.test, n)

    def _features(self, name: str, extractor: str, n: int = 0) -> tuple[Features, Features]:
        data = self.splits(name)
        ready = self.registry.get("extractor", extractor).item.prepare(name, data, self.weights, CPU)
        found = []
        n = n or (self.n // 2 if extractor.startswith("inception") else self.n)
        for images, cond, _ in self.pair(name, n):
            pieces = [ready(part) for part in images.split(CHUNK)]
            probs = [piece[1] for piece in pieces if piece[1] is not None]
            embedding = torch.cat([piece[0] for piece in pieces])
            found.append(Features(images, embedding, torch.cat(probs) if probs else None, cond))
        return found[0], found[1]

    def values(self, metric: str, dataset: str, fake: Features, real: Features, **scene: Any) -> Mapping[str, Value]:
        """Return what a metric gives. `scene`: other fields of what it sees."""
        spec = self.splits(dataset).spec()
        return self.metrics[metric].compute(Scene(spec, fake, real, scene.pop("traces", {}), **scene))

    def measure(self, *args: Any, **scene: Any) -> dict[str, float]:
        """Return the numbers of it."""
        return {name: value.value for name, value in self.values(*args, **scene).items()}


def loaded(name: str, root: Path, registry: Registry | None = None) -> Splits:
    """Load a data set at its usual size; CIFAR-10 also from lossless pictures of a thousand images each.

    Raises `UserError` where the data root has not got it.
    """
    if name == "cifar10" and (root / "cifar10-webp").is_dir():
        return lossless(root / "cifar10-webp")
    found: Splits = (registry or discover()).get("dataset", name).item.load(root, SIDES[name])
    return found


def _drawn(images: ImageSet, n: int) -> ImageSet:
    rows = torch.randperm(len(images.images), generator=torch.Generator().manual_seed(0))[:n]
    return ImageSet(images.images[rows], None if images.cond is None else images.cond[rows])


def lossless(folder: Path) -> Splits:
    """CIFAR-10 from pictures of 25 rows of 40 images, and `labels.npz`."""
    sets = []
    with np.load(folder / "labels.npz") as labels:
        for split in ("train", "test"):
            pages = np.stack([read_image(path, 3) for path in sorted(folder.glob(f"{split}_*.webp"))])
            pixels = pages.reshape(-1, 25, 32, 40, 32, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3, 32, 32)
            cond = torch.from_numpy(labels[f"{split}_labels"][: len(pixels)].astype(np.int64))
            sets.append(ImageSet(torch.from_numpy(pixels.copy()), cond))
    return Splits(*sets, fingerprint="0" * 64)


def told(name: str, fake: Features, real: Features, note: str = "") -> str:
    """What was compared, in words."""
    counts = f"{len(fake.images)} train / {len(real.images)} test"
    return f"{name}, {counts}{f', {note}' if note else ''}"
