"""Scoring: sample once, extract features once, compute every metric; what real images score stands beside."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, Modes, Splits
from ganbench.contract.metrics import Features, Metric, Past, Probe, Scene
from ganbench.contract.types import UNAVAILABLE, DataSpec, Split, Value, way_back
from ganbench.contract.variant import Control, Variant
from ganbench.errors import DiskError, UserError, named
from ganbench.scoring.features import FeatureExtraction, Found
from ganbench.scoring.originals import Originals
from ganbench.scoring.references import References
from ganbench.scoring.samples import control_rows, generate, require_asked
from ganbench.seeds import derive
from ganbench.toolbox.pairs import reverse
from ganbench.training import switches
from ganbench.training.bench import Bench, Measure

Told = Callable[[str, Exception], str]
"""Keeps what a metric or an extractor of a name raised, and returns in brackets where that was."""
OFFERED = frozenset({"generator", "past"})
"""What a metric may need of the scene, which any data have."""
SPLITS: Mapping[Split, str] = {"test": "test split", "train": "training split"}


class Unavailable(UserError):
    """A metric has no value for a reason that another attempt may mend."""


@dataclass(frozen=True)
class Scores:
    """Values by name, and the metrics that have none, with the reason."""

    values: Mapping[str, Value]
    unscored: Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """What is scored: a variant, and what is known of its training.

    `weights`: what of it is sampled, `raw` or `ema`. `traces`: of every update. `past`: the marks scored before, and
    this one without values. `fresh`: makes the variant before its first step. `probe`: see `Scene`.
    """

    variant: Variant
    traces: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0
    weights: str = "raw"
    past: Sequence[Past] = ()
    fresh: Callable[[], Variant] | None = None
    probe: Probe | None = None


def misfit(metric: Metric, data: DataSpec, *, modes: bool, pairs: bool = False) -> str | None:
    """Return what a metric needs that the data do not have, or None."""
    has = {
        "images": data.is_image,
        "points": not data.is_image,
        "labels": data.classes > 1,
        "modes": modes,
        "pairs": pairs,
    } | dict.fromkeys(OFFERED, True)
    missing = sorted(need for need in metric.needs if not has.get(need))
    return f"it needs {' and '.join(missing)}" if missing else None


def extractor_of(metric: Metric, modes: Modes | None) -> str | None:
    """Return the extractor whose features a metric sees: its own, else the one that tells the data's modes apart."""
    return metric.extractor or (modes.extractor if modes is not None and "modes" in metric.needs else None)


class Evaluator:
    """The scoring on one bench, in both directions where its data are a pair of domains.

    `samples`: generated images an evaluation; `reference`: the split they are compared with. The reference of a value
    is what as many images of the other split score. `taken`: names of values that are those of other metrics. `told`:
    hears of what fails.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        samples: int,
        device: torch.device,
        reference: Split = "test",
        weights: Path | None = None,
        taken: Iterable[str] = (),
        told: Told = lambda name, error: "",
    ) -> None:
        directions = [bench.data, *([reverse(bench.data)] if bench.data.domain is not None else [])]
        self._forth, *self._back = (
            _Direction(bench, data, samples, reference, device=device, weights=weights, taken=taken, told=told)
            for data in directions
        )

    def score(self, subject: Subject, metrics: Sequence[Metric | Measure], *, repeats: int = 1) -> Scores:
        """Sample once and compute `metrics`. A metric that cannot be computed is listed, the others go on.

        What a translation back scores has a name that ends in `-back`. `repeats`: how often to sample; a value is then
        the mean. Raises `NotFinite` where a sample is not a number.
        """
        measures = [metric if isinstance(metric, Measure) else Measure(metric) for metric in metrics]
        scores = self._once(subject, measures)
        sampled = [measure for measure in measures if measure.metric.samples]
        seeds = [derive(subject.seed, "repeat", number) for number in range(1, repeats)] if sampled else []
        others = [self._once(replace(subject, seed=seed), sampled) for seed in seeds]
        return joined(scores, others) if others else scores

    def classes(self, images: Tensor) -> Tensor | None:
        """Return the class of each image by what metrics have looked at it with, or None where nothing tells it."""
        return self._forth.classes(images)

    def _once(self, subject: Subject, measures: Sequence[Measure]) -> Scores:
        scores = self._forth.score(subject, measures)
        for direction in self._back:
            sampled = [measure for measure in measures if measure.metric.samples]
            back = direction.score(replace(subject, traces={}, probe=None), sampled, back=True)
            values = {way_back(name): value for name, value in back.values.items()}
            reasons = {way_back(name): reason for name, reason in back.unscored.items()}
            scores = Scores({**scores.values, **values}, {**scores.unscored, **reasons})
        return scores


def joined(first: Scores, others: Sequence[Scores]) -> Scores:
    """Take the mean over several samplings of one set of weights; a value that one of them lacks is none."""
    values, unscored = dict(first.values), dict(first.unscored)
    for name, value in first.values.items():
        if "n_fake" not in value.protocol:
            continue
        found = [other.values[name].value for other in others if name in other.values]
        if len(found) == len(others):
            numbers = (value.value, *found)
            protocol = {**value.protocol, "repeats": len(numbers)}
            values[name] = replace(value, value=fmean(numbers), protocol=protocol, spread=None, repeats=numbers)
        else:
            reason = next((other.unscored[name] for other in others if name in other.unscored), "it had no value")
            unscored[name] = f"in {len(others) - len(found)} of {len(others) + 1} samplings: {reason}"
            del values[name]
    return Scores(values, unscored)


class _Direction:
    """The references of one direction, seen once through every extractor that is asked for."""

    def __init__(
        self,
        bench: Bench,
        data: Splits,
        samples: int,
        reference: Split,
        *,
        device: torch.device,
        weights: Path | None,
        taken: Iterable[str],
        told: Told,
    ) -> None:
        self.told = told
        self.data, self.samples, self.reference = data, samples, reference
        self._codes = bench.codes
        self._extraction = FeatureExtraction(
            bench.dataset.name, data, bench.extractors, device=device, weights=weights, codes=bench.codes
        )
        self._references = References(data, self._extraction)
        self._originals = Originals(data)
        self._taken = frozenset((*taken, *(measure.metric.name for measure in bench.metrics)))

    def score(self, subject: Subject, measures: Sequence[Measure], *, back: bool = False) -> Scores:
        values: dict[str, Value] = {}
        unscored: dict[str, str] = {}
        fakes, reals = self._seen(subject, measures, back)
        memos: dict[Any, dict[Any, Any]] = {}
        for measure in sorted(measures, key=lambda measure: "past" in measure.metric.needs):
            metric, n, split = measure.metric, self._n(measure), self._split(measure)
            extractor = extractor_of(metric, self.data.modes)
            generated: Any = fakes[n][extractor] if metric.samples else Features(self.data.test.images[:0])
            real: Any = reals[split][extractor]
            if isinstance(generated, Exception) or isinstance(real, Exception):
                failed = generated if isinstance(generated, Exception) else real
                unscored[measure.name] = f"{UNAVAILABLE}{self._reason(failed, 'extractor', str(extractor))}"
                continue
            measure = replace(measure, metric=replace(metric, extractor=extractor))
            scene = self._scene(subject, measure, generated, real, values)
            scene = replace(scene, memo=memos.setdefault((n, split, extractor), {}))
            try:
                values.update(self._measured(measure, scene, subject.weights, fakes[n] if metric.samples else ()))
            except Exception as error:  # a metric that fails takes neither the others nor the run with it
                final = isinstance(error, UserError) and not isinstance(error, Unavailable | DiskError)
                unscored[measure.name] = ("" if final else UNAVAILABLE) + self._reason(error, "metric", metric.name)
        return Scores(values, unscored)

    def classes(self, images: Tensor) -> Tensor | None:
        count = self.data.spec().classes
        return self._extraction.classes(images, count) if count > 1 else None

    def _n(self, measure: Measure) -> int:
        return measure.samples or self.samples

    def _split(self, measure: Measure) -> Split:
        return measure.reference or self.reference

    def _seen(
        self, subject: Subject, measures: Sequence[Measure], back: bool
    ) -> tuple[dict[int, Found], dict[Split, Found]]:
        """Sample, and extract the features of samples and references: for each number of samples, and each split."""
        fakes: dict[int, Found] = {}
        wanted: dict[int, list[str]] = {}
        compared: dict[Split, list[str]] = {self.reference: []}
        for measure in measures:
            extractor = extractor_of(measure.metric, self.data.modes)
            names = [extractor] if extractor else []
            if measure.metric.samples:
                wanted.setdefault(self._n(measure), []).extend(names)
            compared.setdefault(self._split(measure), []).extend(names)
        for n, extractors in wanted.items():
            fakes[n] = self._extraction.of(self._sampled(subject, n, back), dict.fromkeys(extractors))
        reals = {
            split: self._extraction.of_real(split, self._images_of(split), dict.fromkeys(extractors))
            for split, extractors in compared.items()
        }
        return fakes, reals

    def _images_of(self, split: Split) -> ImageSet:
        return self.data.test if split == "test" else self.data.train

    def _sampled(self, subject: Subject, n: int, back: bool) -> ImageSet:
        variant = subject.variant
        fake = generate(variant, n, self.data, seed=subject.seed, back=back)
        asked = min(n, len(self.data.domain.test)) if self.data.domain else n
        require_asked(variant.name, fake.images, asked, self.data.test.images)
        # A translator that has found the rule makes the very images of the other domain.
        if not isinstance(variant, Control) and self.data.domain is None:
            self._originals.require_new(variant.name, fake.images)
        return fake

    def _scene(
        self, subject: Subject, measure: Measure, fake: Features, real: Features, values: Mapping[str, Value]
    ) -> Scene:
        variant, needs, split = subject.variant, measure.metric.needs, self._split(measure)
        left_out = control_rows(len(self.data.train.images), self._n(measure))[1][: 0 if split == "train" else None]
        if not isinstance(variant, Control):
            left_out = left_out[:0]
        trained = "generator" in needs and not isinstance(variant, Control)
        past = list(subject.past) if "past" in needs else []
        if past:
            # Of a metric asked for later, what the mark had been measured by is there already.
            past[-1] = past[-1]._replace(values={**past[-1].values, **{name: v.value for name, v in values.items()}})
        return Scene(
            self.data.spec(),
            fake,
            real,
            subject.traces,
            self.data.modes,
            variant.task == "label",
            subject.seed,
            subject.probe,
            training=lambda: self._references.training(split, left_out, measure.metric.extractor),
            options=measure.options,
            generator=(lambda: copy.deepcopy(variant)) if trained else None,
            fresh=subject.fresh if trained else None,
            past=past,
        )

    def _reason(self, error: Any, kind: str, name: str) -> str:
        if isinstance(error, UserError):
            return str(error)
        return f"the {kind} {name!r} failed with {named(error)}{self.told(name, error)}"

    def _measured(self, measure: Measure, scene: Scene, weights: str, extractors: Iterable[Any]) -> dict[str, Value]:
        metric, n, split = measure.metric, self._n(measure), self._split(measure)
        shared = self._protocol(measure, scene)
        used = [name for name in extractors if name]
        drawn = self._references.of(measure, scene, shared, n, split, used) if metric.samples else {}
        exact = self.data.modes.exact(n) if metric.samples and self.data.modes is not None else {}
        measured = {}
        with switches.kept():
            computed = metric.compute(scene)
        for name, value in computed.items():
            if name != metric.name and (name in self._taken or not name.startswith(f"{metric.name}-")):
                whose = "which is another metric's" if name in self._taken else "which is not its own"
                raise UserError(
                    f"the metric {metric.name!r} gives a value {name!r}, {whose}: a metric gives values of its own "
                    f"name, or of one that begins with '{metric.name}-'"
                )
            numbers = () if name in exact else drawn.get(name, ())
            measured[measure.named(name)] = replace(
                completed(metric, name, value, shared),
                reference=exact.get(name, fmean(numbers) if numbers else None),
                references=numbers,
                is_exact=name in exact,
                repeats=(),
                weights=weights if metric.samples or "generator" in metric.needs else "",
            )
        return measured

    def _protocol(self, measure: Measure, scene: Scene) -> dict[str, Any]:
        """Return what the harness knows of a measurement: nothing of it depends on the variant."""
        metric, split = measure.metric, self._split(measure)
        about = {**self.data.protocol, "data": self.data.fingerprint[:12]}
        protocol = protocol_of(measure, scene, about, self._extraction, self._codes)
        if not metric.samples:
            return protocol
        compared = {"n_real": len(self._images_of(split).images), "reference": SPLITS[split]}
        return protocol | {"n_fake": self._n(measure), **compared}


def protocol_of(
    measure: Measure,
    scene: Scene,
    about: Mapping[str, Any],
    extraction: FeatureExtraction,
    codes: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """Return what is known of a measurement but for which samples are compared. `about`: what is said of the data."""
    metric = measure.metric
    plugins = {"metric": metric.name} | ({"extractor": metric.extractor} if metric.extractor else {})
    code = {kind: codes.get((kind, name), "")[:8] for kind, name in plugins.items()}
    # Words of plugins first, so that they cannot take the place of the harness's own.
    protocol: dict[str, Any] = {**about, "code": code}
    if options := measure.plain_options:
        protocol["options"] = options
    if metric.extractor:
        said = extraction.ready(metric.extractor).protocol
        protocol = {f"extractor_{key}" if key in protocol else key: value for key, value in said.items()} | protocol
    if metric.samples and metric.covariance and scene.real.embedding is not None:
        protocol["features"] = int(scene.real.embedding.shape[1])
    return protocol


def completed(metric: Metric, name: str, value: Value, protocol: Mapping[str, Any]) -> Value:
    """Give a value of a name the protocol, and what its metric says of the value of its own name.

    Raises `UserError` where it is not finite.
    """
    number, own = float(value.value), name == metric.name
    if not math.isfinite(number):
        raise UserError(f"{name} came out as {number}")
    better = metric.higher_is_better if own else None
    return replace(
        value,
        value=number,
        protocol={**value.protocol, **protocol, "metric": f"{name}@{metric.version}"},
        higher_is_better=better if value.higher_is_better is None else value.higher_is_better,
        worst=metric.worst if value.worst is None and own else value.worst,
        spread=None if value.spread is None or not math.isfinite(value.spread) else float(value.spread),
        near_reference=value.near_reference or (metric.near_reference and own),
    )
