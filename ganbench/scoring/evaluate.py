"""Scoring: sample once, extract features once, compute every metric; what real images score is cached."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganbench import NUMBERS
from ganbench.contract.data import Modes, Splits
from ganbench.contract.metrics import Features, Metric, Probe, Scene
from ganbench.contract.types import UNAVAILABLE, DataSpec, Value, digest
from ganbench.contract.variant import Control, Variant
from ganbench.errors import DiskError, UserError, named
from ganbench.files import cache_folder
from ganbench.scoring.features import FeatureExtraction, write_cached
from ganbench.scoring.originals import Originals
from ganbench.scoring.samples import CHUNK, control_rows, generate, real_samples, require_asked
from ganbench.toolbox.pairs import reverse
from ganbench.training import switches
from ganbench.training.bench import Bench

Told = Callable[[str, Exception], str]
"""Keeps what a metric or an extractor of a name raised, and returns in brackets where that was."""


class Unavailable(UserError):
    """A metric has no value for a reason that another attempt may mend."""


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
    missing = sorted(need for need in metric.needs if not has.get(need))
    return f"it needs {' and '.join(missing)}" if missing else None


def extractor_of(metric: Metric, modes: Modes | None) -> str | None:
    """Return the extractor whose features a metric sees: its own, else the one that tells the data's modes apart."""
    return metric.extractor or (modes.extractor if modes is not None and "modes" in metric.needs else None)


class Evaluator:
    """The scoring on one bench, in both directions where its data are a pair of domains.

    `samples`: generated images an evaluation. The reference of a value is what as many real training images score.
    `taken`: names of values that are those of other metrics. `told`: hears of what fails.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        samples: int,
        device: torch.device,
        weights: Path | None = None,
        taken: Iterable[str] = (),
        told: Told = lambda name, error: "",
    ) -> None:
        directions = [bench.data, *([reverse(bench.data)] if bench.data.domain is not None else [])]
        self._forth, *self._back = (
            _Direction(bench, data, samples=samples, device=device, weights=weights, taken=taken, told=told)
            for data in directions
        )

    def score(
        self,
        variant: Variant,
        metrics: Sequence[Metric],
        *,
        traces: Mapping[str, np.ndarray],
        seed: int,
        probe: Probe | None = None,
    ) -> Scores:
        """Sample once and compute `metrics`. A metric that cannot be computed is listed, the others go on.

        What a translation back scores has a name that ends in `-back`. Raises `NotFinite` where a sample is not a
        number.
        """
        scores = self._forth.score(variant, metrics, traces=traces, seed=seed, probe=probe)
        for direction in self._back:
            sampled = [metric for metric in metrics if metric.samples]
            back = direction.score(variant, sampled, traces={}, seed=seed, back=True)
            values = {f"{name}-back": value for name, value in back.values.items()}
            reasons = {f"{name}-back": reason for name, reason in back.unscored.items()}
            scores = Scores({**scores.values, **values}, {**scores.unscored, **reasons})
        return scores


class _Direction:
    """The reference split of one direction, seen once through every extractor that is asked for."""

    def __init__(
        self,
        bench: Bench,
        data: Splits,
        *,
        samples: int,
        device: torch.device,
        weights: Path | None = None,
        taken: Iterable[str] = (),
        told: Told,
    ) -> None:
        self.told = told
        self.data, self.samples = data, samples
        self._codes = bench.codes
        self._extraction = FeatureExtraction(
            bench.dataset.name, data, bench.extractors, device=device, weights=weights, codes=bench.codes
        )
        self._control = real_samples(data.train, samples)
        self._originals = Originals(data)
        self._taken = frozenset((*taken, *(metric.name for metric in bench.metrics)))

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
        values: dict[str, Value] = {}
        unscored: dict[str, str] = {}
        conditional = variant.task == "label"
        metrics = [replace(metric, extractor=extractor_of(metric, self.data.modes)) for metric in metrics]
        drawn = any(metric.samples for metric in metrics)
        fake = generate(variant, self.samples, self.data, seed=seed, back=back) if drawn else self._control
        if drawn:
            asked = min(self.samples, len(self.data.domain.test)) if self.data.domain else self.samples
            require_asked(variant.name, fake.images, asked, self.data.test.images)
        # A translator that has found the rule makes the very images of the other domain.
        if drawn and not isinstance(variant, Control) and self.data.domain is None:
            self._originals.require_new(variant.name, fake.images)
        extractors = list(dict.fromkeys(metric.extractor for metric in metrics if metric.extractor))
        fakes = self._extraction.of(fake, extractors)
        reals = self._extraction.of_real("test", self.data.test, extractors)
        for metric in metrics:
            generated, real = fakes[metric.extractor], reals[metric.extractor]
            if isinstance(generated, Exception) or isinstance(real, Exception):
                failed = generated if isinstance(generated, Exception) else real
                unscored[metric.name] = f"{UNAVAILABLE}{self._reason(failed, 'extractor', str(metric.extractor))}"
                continue
            scene = Scene(
                self.data.spec(), generated, real, traces, self.data.modes, conditional, seed, probe, self._training
            )
            try:
                values.update(self._measure(metric, scene, variant, extractors))
            except Exception as error:  # a metric that fails takes neither the others nor the run with it
                final = isinstance(error, UserError) and not isinstance(error, Unavailable | DiskError)
                unscored[metric.name] = ("" if final else UNAVAILABLE) + self._reason(error, "metric", metric.name)
        return Scores(values, unscored)

    def _reason(self, error: Any, kind: str, name: str) -> str:
        if isinstance(error, UserError):
            return str(error)
        return f"the {kind} {name!r} failed with {named(error)}{self.told(name, error)}"

    def _training(self) -> Iterator[Features]:
        """Yield the training images in pieces, without those that stand for images nobody has seen."""
        images = self.data.train.images
        for rows in control_rows(len(images), self.samples)[0].sort().values.split(CHUNK):
            yield Features(images[rows])

    def _measure(self, metric: Metric, scene: Scene, variant: Variant, extractors: Iterable[str]) -> dict[str, Value]:
        shared = self._protocol(metric, variant)
        reference = self._reference(metric, scene, shared, extractors) if metric.samples else {}
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
        plugins = [("metric", metric.name), ("extractor", metric.extractor or "")]
        made = {"code": [self._codes.get(plugin, "") for plugin in plugins], "numbers": NUMBERS}
        key = {"data": self.data.fingerprint, "measured": measured, "protocol": shared, "made": made}
        name = digest(key)[:32]
        path = cache_folder() / "references" / f"{name}.json"
        if (kept := _load_numbers(path, name)) is not None:
            return kept
        control = self._extraction.of_real("train", self._control, extractors)[metric.extractor]
        if isinstance(control, Exception):
            return {}
        try:
            with switches.kept():
                values = metric.compute(replace(scene, fake=control, seed=0))
            found = {name: float(value.value) for name, value in values.items()}
        except Exception:  # what a metric cannot say of real images, it may still say of generated ones
            return {}
        found = {name: value for name, value in found.items() if math.isfinite(value)}
        if found:  # a metric that could say nothing may be mended
            write_cached(path, lambda file: file.write(_numbers(found, name)))
        return found


def _numbers(values: Mapping[str, float], name: str) -> bytes:
    """Write references so that a change, or a move to another name, shows."""
    return json.dumps({"values": values, "sha256": digest([name, values])}, sort_keys=True).encode()


def _load_numbers(path: Path, name: str) -> dict[str, float] | None:
    """Read references from the cache, where they are there, whole, and those of this name."""
    try:
        content = path.read_bytes() if path.is_file() else b""
        values = {str(metric): float(value) for metric, value in json.loads(content)["values"].items()}
        return values if values and content == _numbers(values, name) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
