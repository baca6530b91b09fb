"""Scoring: sample once, extract features once, compute every metric; what real images score is cached."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganbench.data import ImageSet, Modes, Splits, control_order, control_rows, to_float, to_uint8
from ganbench.errors import UserError
from ganbench.features import CHUNK, FeatureExtraction, read_cached, write_cached
from ganbench.files import cache_folder
from ganbench.metrics import Extractor, Metric, Probe, Scene
from ganbench.seeds import derive, seed_device
from ganbench.types import DataSpec, Value, digest
from ganbench.variant import Control, Variant

UNAVAILABLE = "unavailable: "
"""How a reason begins that another attempt may mend (weights that were not to be had), unlike an undefined value."""


class NotFinite(ArithmeticError):
    """A generator gave NaN or infinity."""


@dataclass(frozen=True)
class Scores:
    """Values by name, and the metrics that have none, with the reason."""

    values: Mapping[str, Value]
    unscored: Mapping[str, str]


def misfit(metric: Metric, data: DataSpec, *, modes: bool, pairs: bool = False) -> str | None:
    """Return what a metric needs that the data do not have, or None."""
    has = {
        "images": data.is_image,
        "points": not data.is_image,
        "labels": data.classes > 1,
        "modes": modes,
        "pairs": pairs,
    }
    missing = sorted(need for need in metric.needs if not has[need])
    return f"it needs {' and '.join(missing)}" if missing else None


def extractor_of(metric: Metric, modes: Modes | None) -> str | None:
    """Return the extractor whose features a metric sees: its own, else the one that tells the data's modes apart."""
    return metric.extractor or (modes.extractor if modes is not None and "modes" in metric.needs else None)


class Evaluator:
    """The scoring of one data set: the reference split, seen once through every extractor that is asked for.

    `samples`: generated images an evaluation. The reference of a value is what as many real training images score.
    """

    def __init__(
        self,
        dataset: str,
        data: Splits,
        extractors: Mapping[str, Extractor],
        *,
        samples: int,
        device: torch.device,
        weights: Path | None = None,
    ) -> None:
        self.data, self.samples = data, samples
        self._extraction = FeatureExtraction(dataset, data, extractors, device=device, weights=weights)
        self._control = _subset(data.train, samples)

    def score(
        self,
        variant: Variant,
        metrics: Sequence[Metric],
        *,
        traces: Mapping[str, np.ndarray],
        seed: int,
        probe: Probe | None = None,
        back: bool = False,
    ) -> Scores:
        """Sample once and compute `metrics`. A metric that cannot be computed is listed, the others go on.

        `back`: the data are those of the other direction of a translation.

        Raises `NotFinite` where a sample is not a number.
        """
        values: dict[str, Value] = {}
        unscored: dict[str, str] = {}
        conditional = variant.task == "label"
        metrics = [replace(metric, extractor=extractor_of(metric, self.data.modes)) for metric in metrics]
        drawn = any(metric.samples for metric in metrics)
        fake = generate(variant, self.samples, self.data, seed=seed, back=back) if drawn else self._control
        extractors = list(dict.fromkeys(metric.extractor for metric in metrics if metric.extractor))
        fakes = self._extraction.of(fake, extractors)
        reals = self._extraction.of_real("test", self.data.test, extractors)
        for metric in metrics:
            generated, real = fakes[metric.extractor], reals[metric.extractor]
            if isinstance(generated, Exception):
                unscored[metric.name] = f"{UNAVAILABLE}{_reason(generated)}"
                continue
            if isinstance(real, Exception):
                unscored[metric.name] = f"{UNAVAILABLE}{_reason(real)}"
                continue
            scene = Scene(
                self.data.spec(), generated, real, traces, self.data.modes, conditional, seed, probe, self._training
            )
            try:
                values.update(self._measure(metric, scene, variant, extractors))
            except Exception as error:  # a metric that fails takes neither the others nor the run with it
                unscored[metric.name] = _reason(error)
        return Scores(values, unscored)

    def _training(self) -> Iterator[Tensor]:
        """Yield the training images in pieces, without those that stand for images nobody has seen."""
        images = self.data.train.images
        for rows in control_rows(len(images), self.samples)[0].sort().values.split(CHUNK):
            yield images[rows]

    def _measure(self, metric: Metric, scene: Scene, variant: Variant, extractors: Iterable[str]) -> dict[str, Value]:
        shared = self._protocol(metric, variant)
        reference = self._reference(metric, scene, shared, extractors) if metric.samples else {}
        measured = {}
        for name, value in metric.compute(scene).items():
            number = float(value.value)
            if not math.isfinite(number):
                raise UserError(f"{name} came out as {number}")
            better = metric.higher_is_better if name == metric.name else None
            measured[name] = Value(
                number,
                {**value.protocol, **shared, "metric": f"{name}@{metric.version}"},
                reference.get(name),
                better if value.higher_is_better is None else value.higher_is_better,
            )
        return measured

    def _protocol(self, metric: Metric, variant: Variant) -> dict[str, Any]:
        # Words of plugins first, so that they cannot take the place of the harness's own.
        protocol: dict[str, Any] = {**self.data.protocol, "data": self.data.fingerprint[:12]}
        if not metric.samples:
            return protocol
        if metric.extractor:
            said = self._extraction.ready(metric.extractor).protocol
            protocol = {f"extractor_{key}" if key in protocol else key: value for key, value in said.items()} | protocol
        half_life = variant.ema_half_life_images
        return protocol | {
            "n_fake": self.samples,
            "n_real": len(self.data.test.images),
            "reference": "test split",
            "weights": "raw" if half_life is None else f"average, half-life {half_life:g} images or 5% of those served",
            "batch_norm": "running statistics" if half_life is None else "statistics of 4096 samples",
            "latents": "drawn from the run's seed",
            "labels": "where asked for, drawn from the training split",
        }

    def _reference(
        self, metric: Metric, scene: Scene, shared: Mapping[str, Any], extractors: Iterable[str]
    ) -> Mapping[str, float]:
        if len(self._control.images) < self.samples or "pairs" in metric.needs:
            return {}  # another number of images would be another protocol; and real images are nobody's translation
        measured = {"metric": metric.name, "version": metric.version, "conditional": scene.conditional}
        key = {"data": self.data.fingerprint, "measured": measured, "protocol": shared}
        path = cache_folder() / "references" / f"{digest(key)[:32]}.json"
        if (kept := read_cached(path, _load_numbers)) is not None:
            return kept
        control = self._extraction.of_real("train", self._control, extractors)[metric.extractor]
        if isinstance(control, Exception):
            return {}
        try:
            values = metric.compute(replace(scene, fake=control, seed=0))
            found = {name: float(value.value) for name, value in values.items()}
        except Exception:  # what a metric cannot say of real images, it may still say of generated ones
            return {}
        found = {name: value for name, value in found.items() if math.isfinite(value)}
        write_cached(path, lambda file: file.write(json.dumps(found).encode()))
        return found


@torch.no_grad()
def generate(
    variant: Variant, n: int, data: Splits, *, seed: int, purpose: str = "evaluate", back: bool = False
) -> ImageSet:
    """Draw `n` samples on the variant's device, quantised, returned on the host.

    Labels come from the training split; what is translated are the first test images of the source, in order. Equal
    seeds give equal latents whatever the variant. Raises `NotFinite`.
    """
    train = data.train
    if isinstance(variant, Control):
        return _drawn(variant, n, train, derive(seed, purpose))
    labels = None
    if variant.task == "label" and train.cond is not None:
        generator = torch.Generator().manual_seed(derive(seed, purpose, "labels"))
        labels = train.cond[torch.randint(len(train.cond), (n,), generator=generator)]
    conditions = labels
    if data.domain is not None:
        conditions = to_float(data.domain.test[:n])
        n = len(conditions)
    seed_device(variant.device, derive(seed, purpose))
    pieces = []
    for start in range(0, n, CHUNK):
        stop = min(n, start + CHUNK)
        cond = None if conditions is None else conditions[start:stop].to(variant.device)
        samples = variant.sample(stop - start, cond, **({"reverse": True} if back else {}))
        if not bool(torch.isfinite(samples).all()):
            raise NotFinite(f"{variant.name} generates values that are not finite")
        pieces.append(to_uint8(samples).cpu())
    return ImageSet(torch.cat(pieces), labels)


def _drawn(control: Control, n: int, train: ImageSet, seed: int) -> ImageSet:
    total, generator = len(train.images), torch.Generator().manual_seed(seed)
    chosen = control.rows(*control_rows(total, n))
    order = torch.randperm(len(chosen), generator=generator)[:n]
    if len(order) < n:
        raise UserError(f"{control.name} has {len(chosen)} training images to draw from, not {n}: lower --samples")
    rows = chosen[order]
    return ImageSet(train.images[rows], None if train.cond is None else train.cond[rows])


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"it failed with {type(error).__name__}: {error}"


def _subset(images: ImageSet, n: int) -> ImageSet:
    rows = control_order(len(images.images))[:n]
    return ImageSet(images.images[rows], None if images.cond is None else images.cond[rows])


def _load_numbers(path: Path) -> dict[str, float]:
    return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}
