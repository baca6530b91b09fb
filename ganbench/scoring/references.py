"""What real images score in the generator's place: several disjoint draws of them, and kept in the cache."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganbench import NUMBERS
from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.metrics import Features, Scene
from ganbench.contract.types import Split, digest
from ganbench.files import cache_folder
from ganbench.scoring.features import FeatureExtraction, write_cached
from ganbench.scoring.samples import CHUNK, control_order
from ganbench.training import switches
from ganbench.training.bench import Measure

DRAWS, COSTLY_DRAWS = 5, 3
"""So many disjoint draws of real images at most; fewer for a metric that is too dear for every mark."""

Numbers = dict[str, tuple[float, ...]]


class References:
    """Draws of real images that stand for samples: of the training split, or of the test split where the reference is
    the training split.
    """

    def __init__(self, data: Splits, extraction: FeatureExtraction) -> None:
        self.data, self.extraction = data, extraction

    def draw(self, split: Split, n: int, number: int) -> tuple[ImageSet, Tensor]:
        """Return a draw of `n` images against the reference `split`, and their rows in the other one."""
        pool = self._pool(split)
        rows = control_order(len(pool.images))[number * n : (number + 1) * n]
        return ImageSet(pool.images[rows], None if pool.cond is None else pool.cond[rows]), rows

    def of(
        self,
        measure: Measure,
        scene: Scene,
        protocol: Mapping[str, Any],
        n: int,
        split: Split,
        extractors: Iterable[str],
    ) -> Numbers:
        """Return by name of value what each draw of `n` real images scores; nothing where a metric cannot say it."""
        metric = measure.metric
        count = min(COSTLY_DRAWS if metric.last_mark_only else DRAWS, len(self._pool(split).images) // n)
        if not count or "pairs" in metric.needs:
            return {}  # another number of images would be another protocol; and real images are nobody's translation
        measured = {"metric": metric.name, "version": metric.version, "conditional": scene.conditional, "draws": count}
        key = {"data": self.data.fingerprint, "measured": measured, "protocol": protocol, "numbers": NUMBERS}
        name = digest(key)[:32]
        path = cache_folder() / "references" / f"{name}.json"
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            content = b""
        if (kept := parsed(content, name)) is not None:
            return kept
        draws = [self._scored(measure, scene, n, split, number, extractors) for number in range(count)]
        # What one draw does not have, real data do not have for certain.
        found: Numbers = {name: tuple(d[name] for d in draws) for name in draws[0] if all(name in d for d in draws)}
        if found:  # a metric that could say nothing may be mended
            write_cached(path, lambda file: file.write(written(found, name)))
        return found

    def training(self, split: Split, left_out: Tensor, extractor: str | None) -> Iterator[Features]:
        """Yield the training images in pieces, with their features, but for some rows where a draw is made of them."""
        images, labels, _ = self.data.train
        rows = torch.arange(len(images))
        if split == "test" and len(left_out):
            keep = torch.ones(len(images), dtype=torch.bool)
            keep[left_out] = False
            rows = rows[keep]
        known = self.extraction.of_real("train", self.data.train, [extractor])[extractor] if extractor else None
        if isinstance(known, Exception):
            raise known
        for piece in rows.split(CHUNK):
            embedding, probs = (None, None) if known is None else (known.embedding, known.probs)
            yield Features(
                images[piece],
                None if embedding is None else embedding[piece],
                None if probs is None else probs[piece],
                None if labels is None else labels[piece],
            )

    def _pool(self, split: Split) -> ImageSet:
        return self.data.train if split == "test" else self.data.test

    def _scored(
        self, measure: Measure, scene: Scene, n: int, split: Split, number: int, extractors: Iterable[str]
    ) -> dict[str, float]:
        metric = measure.metric
        images, rows = self.draw(split, n, number)
        features = self.extraction.of_real(f"draw {number} beside {split}", images, extractors)[metric.extractor]
        if isinstance(features, Exception):
            return {}
        real = replace(
            scene,
            fake=features,
            seed=number,
            training=lambda: self.training(split, rows, metric.extractor),
            generator=None,
            fresh=None,
            memo={},
        )
        try:
            with switches.kept():
                values = metric.compute(real)
            found = {name: float(value.value) for name, value in values.items()}
        except Exception:  # what a metric cannot say of real images, it may still say of generated ones
            return {}
        return {name: value for name, value in found.items() if math.isfinite(value)}


def written(values: Numbers, name: str) -> bytes:
    """Write references so that a change, or a move to another name, shows."""
    plain = {metric: list(numbers) for metric, numbers in values.items()}
    return json.dumps({"values": plain, "sha256": digest([name, plain])}, sort_keys=True).encode()


def parsed(content: bytes, name: str) -> Numbers | None:
    """Read references from the cache, where they are there, whole, and those of this name."""
    try:
        kept = json.loads(content)["values"].items()
        values = {str(metric): tuple(float(number) for number in numbers) for metric, numbers in kept}
        return values if values and content == written(values, name) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
