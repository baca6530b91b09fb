"""Two sets of samples, scored as a run's are scored: each metric with its own extractor and its protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Modes, Splits
from ganbench.contract.metrics import Embedding, Extractor, Features, Metric, Scene
from ganbench.contract.types import DataSpec, Value
from ganbench.errors import PluginError, UserError, named
from ganbench.runs.measures import measure
from ganbench.runs.registry import Kind, Registry
from ganbench.runs.settings import parse_settings, settings_for_metrics
from ganbench.runs.sides import Side
from ganbench.runs.steps import Begin, Step
from ganbench.scoring.evaluate import SPLITS, completed, extractor_of, misfit, protocol_of
from ganbench.scoring.features import FeatureExtraction
from ganbench.scoring.references import References
from ganbench.training.bench import Measure
from ganbench.training.switches import kept

RESIZES = "extractor_resize"
"""What the protocol of an extractor says where it takes images of any size."""


def choose(names: Sequence[str], registry: Registry, settings: Sequence[str] = (), dataset: str = "") -> list[Measure]:
    """Return metrics by name, or by name and extractor as in `precision@classifier`, with their options.

    Raises `UserError` for one that is not to be had, and for a setting that is of none of them.
    """
    given, used = parse_settings(settings), set[str]()
    chosen = [measure(name, registry, given, dataset) for name in dict.fromkeys(names)]
    for each in chosen:
        if each.samples is not None:
            raise UserError(f"metric {each.name!r}: how many samples are compared, and with which, is said by A and B")
    settings_for_metrics([each.metric for each in chosen], given, used)
    if left := [key for key in given if key not in used]:
        raise UserError(f"--set {left[0]}: none of the metrics {', '.join(names)} has this option")
    return chosen


def compare(
    fake: Side,
    real: Side,
    measures: Sequence[Measure],
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
    measures = [replace(m, metric=replace(m.metric, extractor=extractor_of(m.metric, modes))) for m in measures]
    for each in measures:
        if reason := unfit(each.metric, spec, modes):
            raise UserError(f"{each.name} cannot compare {fake.name} with {real.name}: {reason}")
    names = list(dict.fromkeys(each.metric.extractor for each in measures if each.metric.extractor))
    plugins: list[tuple[Kind, str]] = [
        *(("extractor", n) for n in names),
        *(("metric", m.metric.name) for m in measures),
    ]
    codes: dict[tuple[str, str], str] = {plugin: registry.get(*plugin).code for plugin in plugins}
    told = _Told(begin)
    extraction = FeatureExtraction(
        real.dataset or "samples",
        _splits(real),
        {name: _Listening(registry.get("extractor", name).item, told) for name in names},
        device=device,
        weights=weights,
        codes=codes,
    )
    for name in names:
        extraction.ready(name)
    _require_sizes(fake, real, measures, extraction)
    told.start(f"features of {real.name}", len(names) * len(real))
    reals = extraction.of_real(real.split, real.samples, names) if real.split else extraction.of(real.samples, names)
    told.start(f"features of {fake.name}", len(names) * len(fake))
    fakes = extraction.of(fake.samples, names)
    values: dict[str, Value] = {}
    memos: dict[str | None, dict[Any, Any]] = {}
    for each in measures:
        begin(Step((), f"computing {each.name}"))
        told.start(f"computing {each.name}", len(real.data.train.images) if real.data is not None else 1)
        extractor = each.metric.extractor
        generated, true = _whole(fakes[extractor]), _whole(reals[extractor])
        _require_width(each, generated, true)
        scene = Scene(
            spec,
            generated,
            true,
            {},
            modes,
            spec.task == "label",
            fake.seed,
            training=_training(real, extraction, extractor),
            options=each.options,
            memo=memos.setdefault(extractor, {}),
        )
        about_data = {**real.about, "data": real.content[:12]}
        # What a run's protocol would say: against the test split of a data set the two are the same.
        protocol = protocol_of(each, scene, about_data, extraction, codes)
        protocol |= {"n_real": len(real), "reference": _reference(real), "n_fake": len(fake)}
        values |= measured(each, scene, protocol, fake, real)
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


def _require_sizes(fake: Side, real: Side, measures: Sequence[Measure], extraction: FeatureExtraction) -> None:
    if fake.shape == real.shape:
        return
    by_name = {each.name: each.metric.extractor for each in measures}
    strict = [name for name, of in by_name.items() if not of or RESIZES not in extraction.ready(of).protocol]
    if strict:
        shapes = " and ".join(f"{side.name} has {'×'.join(map(str, side.shape))}" for side in (fake, real))
        raise UserError(
            f"{', '.join(strict)} need{'s' * (len(strict) == 1)} samples of one shape, but {shapes}: give --size, to "
            f"which folders and data sets are resized, or metrics that resize images themselves, as fid does"
        )


def _require_width(each: Measure, generated: Features, real: Features) -> None:
    if generated.embedding is None or real.embedding is None:
        return
    widths = generated.embedding.shape[1], real.embedding.shape[1]
    if widths[0] != widths[1]:
        raise UserError(f"{each.name} has {widths[0]} features of one side and {widths[1]} of the other: give --size")


def _whole(found: Features | Exception) -> Features:
    if isinstance(found, Exception):
        raise found
    return found


def _training(
    real: Side, extraction: FeatureExtraction, extractor: str | None
) -> Callable[[], Iterator[Features]] | None:
    """Return what yields the training images of a data set with their features, or None where there are none."""
    if real.data is None:
        return None
    references = References(real.data, extraction)
    return lambda: references.training("test", torch.empty(0, dtype=torch.int64), extractor)


def measured(each: Measure, scene: Scene, protocol: Mapping[str, Any], fake: Side, real: Side) -> dict[str, Value]:
    """Compute one metric, and give its values the protocol."""
    metric = each.metric
    try:
        with kept():
            found = metric.compute(scene)
    except UserError as error:
        raise UserError(f"{each.name} cannot compare {fake.name} with {real.name}: {error}") from error
    except Exception as error:
        raise PluginError(f"the metric {metric.name!r} failed with {named(error)}") from error
    return {each.named(name): completed(metric, name, value, protocol) for name, value in found.items()}


def _reference(real: Side) -> str:
    """Say which images the reference is."""
    return SPLITS["train" if real.split == "train" else "test"] if real.data is not None else "all of B"


class _Told:
    """Counts the images of one side that extractors have seen, and tells how many are left."""

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.start("looking at images", 1)

    def start(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0

    def count(self, images: int) -> None:
        self.begin(Step((), self.what, share=min(1.0, self.done / self.total)))
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
