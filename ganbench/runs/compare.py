"""Two sets of samples, scored as a run's are scored: each metric with its own extractor and its protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Modes, Splits
from ganbench.contract.metrics import Embedding, Extractor, Features, Metric, Scene
from ganbench.contract.types import DataSpec, Value
from ganbench.errors import PluginError, UserError, named, suggestion
from ganbench.runs.registry import Registry
from ganbench.runs.sides import Side
from ganbench.runs.steps import Begin, Step
from ganbench.scoring.evaluate import extractor_of, misfit
from ganbench.scoring.features import FeatureExtraction
from ganbench.scoring.samples import CHUNK
from ganbench.training.switches import kept

RESIZES = "extractor_resize"
"""What the protocol of an extractor says where it takes images of any size."""


def choose(names: Sequence[str], registry: Registry) -> list[Metric]:
    """Return metrics by name, or by name and extractor as in `precision@classifier`."""
    return [_chosen(name, registry) for name in dict.fromkeys(names)]


def _chosen(text: str, registry: Registry) -> Metric:
    name, at, extractor = text.partition("@")
    metric: Metric = registry.get("metric", name).item
    if not at:
        return metric
    if not metric.any_extractor:
        raise UserError(f"metric {text!r}: {name} is defined by its extractor and takes no other; write {name!r}")
    if extractor not in registry.entries["extractor"]:
        known = sorted(registry.entries["extractor"])
        hint = suggestion(extractor, known) or f"; there are {', '.join(known)}"
        raise UserError(f"metric {text!r}: there is no extractor {extractor!r}{hint}")
    return replace(metric, name=text, extractor=extractor)


def compare(
    fake: Side,
    real: Side,
    metrics: Sequence[Metric],
    registry: Registry,
    *,
    device: torch.device,
    weights: Path | None = None,
    begin: Begin,
) -> dict[str, Value]:
    """Score `fake` in a generator's place against `real` as the reference, and return values by name.

    Raises `UserError` where a metric needs what the sides do not have, before any is computed.
    """
    spec, modes = spec_of(fake, real), real.data.modes if real.data is not None else None
    metrics = [replace(metric, extractor=extractor_of(metric, modes)) for metric in metrics]
    for metric in metrics:
        if reason := unfit(metric, spec, modes):
            raise UserError(f"{metric.name} cannot compare {fake.name} with {real.name}: {reason}")
    names = list(dict.fromkeys(metric.extractor for metric in metrics if metric.extractor))
    told = _Told(begin, len(names) * (len(fake) + len(real)))
    extraction = FeatureExtraction(
        real.dataset or "samples",
        _splits(real),
        {name: told.listening(registry.get("extractor", name).item) for name in names},
        device=device,
        weights=weights,
        codes={("extractor", name): registry.get("extractor", name).code for name in names},
    )
    for name in names:
        extraction.ready(name)
    _require_sizes(fake, real, metrics, extraction)
    told.what = f"features of {real.name}"
    reals = extraction.of_real(real.split, real.samples, names) if real.split else extraction.of(real.samples, names)
    told.what = f"features of {fake.name}"
    fakes = extraction.of(fake.samples, names)
    values: dict[str, Value] = {}
    memos: dict[str | None, dict[Any, Any]] = {}
    for metric in metrics:
        begin(Step((), f"computing {metric.name}"))
        generated, true = _whole(fakes[metric.extractor]), _whole(reals[metric.extractor])
        _require_width(metric, generated, true)
        scene = Scene(
            spec,
            generated,
            true,
            {},
            modes,
            spec.task == "label",
            training=_training(real, extraction, metric.extractor) if real.data is not None else None,
            options=metric.config,
            memo=memos.setdefault(metric.extractor, {}),
        )
        said = extraction.ready(metric.extractor).protocol if metric.extractor else {}
        values |= measured(metric, scene, said, fake, real)
    return values


def about(side: Side) -> dict[str, Any]:
    """Say what a side is."""
    shape = "×".join(map(str, side.shape))
    return {"name": side.name, "samples": len(side), "shape": shape, "content": side.content[:12], **side.about}


def spec_of(fake: Side, real: Side) -> DataSpec:
    """Describe the reference; by label where both sides have labels."""
    if len(fake.shape) != len(real.shape):
        kinds = [f"{side.name} holds {'images' if len(side.shape) == 3 else 'points'}" for side in (fake, real)]
        raise UserError(f"{' and '.join(kinds)}: samples of one kind can be compared")
    labels = [side.samples.cond for side in (fake, real)]
    if labels[1] is None or (real.data is not None and real.data.domain is not None):
        return DataSpec(real.shape)
    most = max(int(each.max()) for each in labels if each is not None)
    classes = max(most + 1, real.data.spec().classes if real.data is not None else 0)
    return DataSpec(real.shape, "generate" if labels[0] is None else "label", classes)


def unfit(metric: Metric, spec: DataSpec, modes: Modes | None) -> str | None:
    """Return why a metric cannot compare two sets of samples, or None."""
    if not metric.samples:
        return "it looks at how a run was trained, which samples do not tell"
    if "pairs" in metric.needs:
        return "it needs translations and their counterparts, one by one"
    for need, of in (("generator", "a generator to draw from"), ("past", "the course of a run")):
        if need in metric.needs:
            return f"it needs {of}, which samples do not tell"
    if reason := misfit(metric, spec, modes=modes is not None):
        return f"{reason}, which the reference does not have"
    return None


def _splits(real: Side) -> Splits:
    """Return the reference as extractors know data: without labels where it is no data set, whose split it were."""
    if real.data is not None:
        return real.data
    images = ImageSet(real.samples.images)
    return Splits(images, images, real.content)


def _require_sizes(fake: Side, real: Side, metrics: Sequence[Metric], extraction: FeatureExtraction) -> None:
    if fake.shape == real.shape:
        return
    strict = [m.name for m in metrics if not m.extractor or RESIZES not in extraction.ready(m.extractor).protocol]
    if strict:
        shapes = " and ".join(f"{side.name} has {'×'.join(map(str, side.shape))}" for side in (fake, real))
        raise UserError(
            f"{', '.join(strict)} need{'s' * (len(strict) == 1)} samples of one shape, but {shapes}: give --size, to "
            f"which folders and data sets are resized, or metrics that resize images themselves, as fid does"
        )


def _require_width(metric: Metric, generated: Features, real: Features) -> None:
    if generated.embedding is None or real.embedding is None:
        return
    widths = generated.embedding.shape[1], real.embedding.shape[1]
    if widths[0] != widths[1]:
        raise UserError(f"{metric.name} has {widths[0]} features of one side and {widths[1]} of the other: give --size")


def _whole(found: Features | Exception) -> Features:
    if isinstance(found, Exception):
        raise found
    return found


def _training(real: Side, extraction: FeatureExtraction, extractor: str | None) -> Callable[[], Iterator[Features]]:
    """Return what yields the training images of a data set in pieces, with their features and labels."""
    assert real.data is not None
    train = real.data.train

    def pieces() -> Iterator[Features]:
        for rows in torch.arange(len(train.images)).split(CHUNK):
            piece = ImageSet(train.images[rows], None if train.cond is None else train.cond[rows])
            yield _whole(extraction.of(piece, [extractor] if extractor else [])[extractor])

    return pieces


def measured(metric: Metric, scene: Scene, said: Mapping[str, Any], fake: Side, real: Side) -> dict[str, Value]:
    """Compute one metric; its values have the protocol of the reference, of the extractor and of its own."""
    kind = f"{real.split} split" if real.data is not None else "all of it"
    protocol = {**real.about, "data": real.content[:12]}
    protocol = {f"extractor_{key}" if key in protocol else key: value for key, value in said.items()} | protocol
    protocol |= {"n_fake": len(fake), "n_real": len(real), "reference": kind}
    name, at, extractor = metric.name.partition("@")
    try:
        with kept():
            found = metric.compute(scene)
    except UserError as error:
        raise UserError(f"{metric.name} cannot compare {fake.name} with {real.name}: {error}") from error
    except Exception as error:
        raise PluginError(f"the metric {metric.name!r} failed with {named(error)}") from error
    values = {}
    for key, value in found.items():
        number = float(value.value)
        if not math.isfinite(number):
            raise UserError(f"{key} came out as {number}")
        better = metric.higher_is_better if key == name else None
        values[f"{key}{at}{extractor}"] = replace(
            value,
            value=number,
            protocol={**value.protocol, **protocol, "metric": f"{key}@{metric.version}"},
            higher_is_better=better if value.higher_is_better is None else value.higher_is_better,
        )
    return values


class _Told:
    """Counts the images that extractors have seen, and tells how many are left. `what`: is being done."""

    def __init__(self, begin: Begin, total: int) -> None:
        self.begin, self.total, self.done, self.what = begin, total, 0, "looking for extractors"

    def listening(self, extractor: Extractor) -> Extractor:
        return _Listening(extractor, self)

    def count(self, images: int) -> None:
        self.begin(Step((), self.what, share=min(1.0, self.done / max(1, self.total))))
        self.done += images


class _Listening(Extractor):
    """An extractor whose work is told of."""

    def __init__(self, extractor: Extractor, told: _Told) -> None:
        self.extractor, self.told = extractor, told

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        self.told.begin(Step((), f"making the extractor {self.extractor.name} ready"))
        return _ListeningEmbedding(self.extractor.prepare(dataset, data, weights, device), self.told)


class _ListeningEmbedding:
    """An extractor made ready whose work is told of."""

    def __init__(self, embedding: Embedding, told: _Told) -> None:
        self.embedding, self.told, self.protocol = embedding, told, embedding.protocol

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        self.told.count(len(images))
        return self.embedding(images)
