"""Scoring: sample once, extract features once, compute every metric; real features and references are cached."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganbench.data import ImageSet, Modes, Splits, to_uint8
from ganbench.errors import UserError
from ganbench.files import cache_folder, write_atomically
from ganbench.metrics import Embedding, Extractor, Features, Metric, Scene
from ganbench.seeds import derive, seed_device
from ganbench.types import DataSpec, Value, digest
from ganbench.variant import Variant

CHUNK = 256
"""Samples are drawn and features extracted so many at a time, always, because rounding may depend on it."""
UNAVAILABLE = "unavailable: "
"""How a reason begins that another attempt may mend (weights that were not to be had), unlike an undefined value."""


class NotFinite(ArithmeticError):
    """A generator gave NaN or infinity."""


@dataclass(frozen=True)
class Scores:
    """Values by name, and the metrics that have none, with the reason."""

    values: Mapping[str, Value]
    unscored: Mapping[str, str]


def misfit(metric: Metric, data: DataSpec, *, modes: bool) -> str | None:
    """Return what a metric needs that the data do not have, or None."""
    has = {
        "images": data.is_image,
        "points": not data.is_image,
        "labels": data.classes > 1,
        "modes": modes,
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
        self.dataset, self.data, self.samples, self.device = dataset, data, samples, device
        self._extractors, self._weights = extractors, weights
        self._embeddings: dict[str, Embedding] = {}
        self._real: dict[str, Features] = {}
        self._control = _subset(data.train, samples)

    def score(
        self, variant: Variant, metrics: Sequence[Metric], *, traces: Mapping[str, np.ndarray], seed: int
    ) -> Scores:
        """Sample once and compute `metrics`. A metric that cannot be computed is listed, the others go on.

        Raises `NotFinite` where a sample is not a number.
        """
        values: dict[str, Value] = {}
        unscored: dict[str, str] = {}
        conditional = variant.task == "label"
        metrics = [replace(metric, extractor=extractor_of(metric, self.data.modes)) for metric in metrics]
        drawn = any(metric.samples for metric in metrics)
        fake = generate(variant, self.samples, self.data.train, seed=seed) if drawn else self._control
        for extractor in dict.fromkeys(metric.extractor for metric in metrics):
            group = [metric for metric in metrics if metric.extractor == extractor]
            try:
                scene = self._scene(fake, extractor, traces, conditional, seed)
            except Exception as error:  # an extractor is a plugin too, and may fail in any way
                unscored.update({metric.name: f"{UNAVAILABLE}{_reason(error)}" for metric in group})
                continue
            for metric in group:
                try:
                    values.update(self._measure(metric, scene, variant))
                except Exception as error:  # a metric that fails takes neither the others nor the run with it
                    unscored[metric.name] = _reason(error)
        return Scores(values, unscored)

    def _scene(
        self, fake: ImageSet, extractor: str | None, traces: Mapping[str, np.ndarray], conditional: bool, seed: int
    ) -> Scene:
        return Scene(
            data=self.data.spec(),
            fake=self._features(fake, extractor),
            real=self._real_features("test", self.data.test, extractor),
            traces=traces,
            modes=self.data.modes,
            conditional=conditional,
            seed=seed,
        )

    def _measure(self, metric: Metric, scene: Scene, variant: Variant) -> dict[str, Value]:
        shared = self._protocol(metric, variant)
        reference = self._reference(metric, scene, shared) if metric.samples else {}
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
            protocol = {**self._embeddings[metric.extractor].protocol, **protocol}
        half_life = variant.ema_half_life_images
        return protocol | {
            "n_fake": self.samples,
            "n_real": len(self.data.test.images),
            "reference": "test split",
            "weights": "raw" if half_life is None else f"average with a half-life of {half_life:g} images",
            "batch_norm": "running statistics" if half_life is None else "statistics of 4096 samples",
            "latents": "drawn from the run's seed",
            "labels": "where asked for, drawn from the training split",
        }

    def _reference(self, metric: Metric, scene: Scene, shared: Mapping[str, Any]) -> Mapping[str, float]:
        if len(self._control.images) < self.samples:
            return {}  # another number of images would be another protocol

        def compute() -> dict[str, float]:
            control = replace(scene, fake=self._real_features("train", self._control, metric.extractor), seed=0)
            found = {name: float(value.value) for name, value in metric.compute(control).items()}
            return {name: value for name, value in found.items() if math.isfinite(value)}

        measured = {"metric": metric.name, "version": metric.version, "conditional": scene.conditional}
        key = {"data": self.data.fingerprint, "measured": measured, "protocol": shared}
        path = cache_folder() / "references" / f"{digest(key)[:32]}.json"
        try:
            return _cached(path, _load_json, compute, lambda found, file: file.write(json.dumps(found).encode()))
        except Exception:  # what a metric cannot say of real images, it may still say of generated ones
            return {}

    def _real_features(self, split: str, images: ImageSet, extractor: str | None) -> Features:
        if extractor is None:
            return self._features(images, None)
        name = f"{split}/{extractor}"
        if name not in self._real:
            embedding = self._embedding(extractor)
            rows = {"data": self.data.fingerprint, "split": split, "n": len(images.images)}
            key = {"images": rows, "protocol": embedding.protocol}
            path = cache_folder() / "features" / f"{digest(key)[:32]}.npz"
            arrays = _cached(path, _load_arrays, lambda: self._extract(images.images, embedding), _save_arrays)
            found = {key: torch.from_numpy(array) for key, array in arrays.items()}
            self._real[name] = Features(images.images, found["embedding"], found.get("probs"), images.cond)
        return self._real[name]

    def _features(self, images: ImageSet, extractor: str | None) -> Features:
        if extractor is None:
            return Features(images.images, labels=images.cond)
        arrays = self._extract(images.images, self._embedding(extractor))
        found = {key: torch.from_numpy(array) for key, array in arrays.items()}
        return Features(images.images, found["embedding"], found.get("probs"), images.cond)

    def _embedding(self, extractor: str) -> Embedding:
        if extractor not in self._embeddings:
            if extractor not in self._extractors:
                raise UserError(f"there is no extractor {extractor!r}")
            found = self._extractors[extractor].prepare(self.dataset, self.data, self._weights, self.device)
            self._embeddings[extractor] = found
        return self._embeddings[extractor]

    @torch.no_grad()
    def _extract(self, images: Tensor, embedding: Embedding) -> dict[str, np.ndarray]:
        pieces = [embedding(chunk.to(self.device)) for chunk in images.split(CHUNK)]
        arrays = {"embedding": torch.cat([piece[0].cpu() for piece in pieces]).numpy()}
        probs = [piece[1].cpu() for piece in pieces if piece[1] is not None]
        return arrays | ({"probs": torch.cat(probs).numpy()} if probs else {})


@torch.no_grad()
def generate(variant: Variant, n: int, train: ImageSet, *, seed: int, purpose: str = "evaluate") -> ImageSet:
    """Draw `n` samples on the variant's device, quantised, returned on the host; labels come from the training split.

    Equal seeds give equal latents whatever the variant. Raises `NotFinite`.
    """
    labels = None
    if variant.task == "label" and train.cond is not None:
        generator = torch.Generator().manual_seed(derive(seed, purpose, "labels"))
        labels = train.cond[torch.randint(len(train.cond), (n,), generator=generator)]
    seed_device(variant.device, derive(seed, purpose))
    pieces = []
    for start in range(0, n, CHUNK):
        stop = min(n, start + CHUNK)
        cond = None if labels is None else labels[start:stop].to(variant.device)
        samples = variant.sample(stop - start, cond)
        if not bool(torch.isfinite(samples).all()):
            raise NotFinite(f"{variant.name} generates values that are not finite")
        pieces.append(to_uint8(samples).cpu())
    return ImageSet(torch.cat(pieces), labels)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"it failed with {type(error).__name__}: {error}"


def _subset(images: ImageSet, n: int) -> ImageSet:
    rows = torch.randperm(len(images.images), generator=torch.Generator().manual_seed(derive(0, "control")))[:n]
    return ImageSet(images.images[rows], None if images.cond is None else images.cond[rows])


def _cached(
    path: Path, load: Callable[[Path], Any], compute: Callable[[], Any], save: Callable[[Any, Any], Any]
) -> Any:
    # A damaged cache entry is made again; a cache that cannot be written costs time, not the result.
    try:
        return load(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError):
        found = compute()
    with contextlib.suppress(UserError):
        write_atomically(path, lambda file: save(found, file))
    return found


def _load_json(path: Path) -> dict[str, float]:
    return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    import zipfile

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {"embedding": arrays["embedding"]} | {name: arrays[name] for name in arrays.files}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged") from error


def _save_arrays(arrays: Mapping[str, np.ndarray], file: Any) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type]
