"""The command that makes a run again, built from what its record holds. Imports no torch."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ganbench.contract.types import Value
from ganbench.results.record import RunRecord
from ganbench.results.rows import plain

MARKS = 5
"""So many marks a run has where nobody says."""


def command_of(record: RunRecord) -> str:
    """Return a line for a shell that plans this very run, where data and plugins are found as they were.

    A run of a preset that has no option of its own is planned among the preset's rows of its variant.
    """
    return shlex.join(["ganbench", "run", *_arguments(record)])


def _arguments(record: RunRecord) -> Iterator[str]:
    spec = record.spec
    preset, _, scale = spec.preset.partition(" × ")
    if preset:
        yield from ("--preset", preset, *(("--scale", scale) if scale else ()))
    yield from ("--variants", spec.variant, "--dataset", spec.dataset)
    if not preset:  # it fixes them
        yield from ("--backbone", spec.backbone, "--budget", str(spec.budget))
        yield from ("--size", str(spec.size)) if spec.size else ()
        yield from ("--batch", str(spec.batch))
        yield from ("--precision", spec.precision) if spec.precision != "fp32" else ()
    for name, value in sorted(spec.options.items()):
        owner = f"{spec.variant}." if preset and "." not in name else ""  # so named it takes the place of the preset's
        yield from ("--set", f"{owner}{name}={_text(value)}")
    yield from ("--compile",) if spec.compiled else ()
    yield from ("--seeds", f"{spec.seed}-{spec.seed}")
    yield from _scoring(record, preset=bool(preset))


def _scoring(record: RunRecord, *, preset: bool) -> Iterator[str]:
    """Yield what is asked for of samples and metrics, as far as the values say it."""
    values = [value for of in record.values.values() for value in of]
    weights = sorted({value.weights for value in values} - {""})
    if weights and weights != ["ema"]:
        yield from ("--score", ",".join(weights))
    metrics = record.variant.get("headline")
    names = [name for name in metrics if isinstance(name, str)] if isinstance(metrics, list) else []
    if names:
        yield from ("--metrics", ",".join(names))
    if not preset:
        plainly = [value for name, of in record.values.items() if "@" not in name for value in of]
        yield from _counted(plainly or values)
    if record.status == "done" and record.curve and len(record.curve) != MARKS:
        yield from ("--marks", str(len(record.curve)))
    for name in dict.fromkeys(name.partition("@")[0] for name in names):
        for option, value in sorted(_options(record, name).items()):
            yield from ("--set", f"{name}.{option}={_text(value)}")


def _counted(values: list[Value]) -> Iterator[str]:
    """Yield how many samples are compared with which split, as most of these values were."""
    samples = Counter(count for value in values if isinstance(count := value.protocol.get("n_fake"), int))
    if samples:
        yield from ("--samples", str(samples.most_common(1)[0][0]))
    splits = Counter(split for value in values if isinstance(split := value.protocol.get("reference"), str))
    if splits and splits.most_common(1)[0][0].startswith("train"):
        yield from ("--reference", "train")
    repeats = Counter(count for value in values if isinstance(count := value.protocol.get("repeats"), int))
    if repeats:
        yield from ("--repeats", str(repeats.most_common(1)[0][0]))


def _options(record: RunRecord, metric: str) -> Mapping[str, Any]:
    of = (value for name, values in record.values.items() if name.partition("@")[0] == metric for value in values)
    found = next((value.protocol.get("options") for value in of), None)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    return "none" if value is None else plain(value)
