"""The values that cross the border between harness and plugins. Imports no torch at run time."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from annotated_types import Ge, Gt, Lt

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["generate", "label", "translate"]
"""What a sample is drawn from: noise, a class label, or a source image."""

Split = Literal["train", "test"]
"""A part of a data set."""

BACK = "-back"
"""How the names end of values of a translation from the second domain into the first."""

UNAVAILABLE = "unavailable: "
"""How a reason begins why a metric has no value where another attempt may mend it (weights that were not to be had)."""

CONTROL = "control"
"""The family of what is not trained; `all` leaves it out."""

Norm = Literal["batch", "layer", "instance", "spectral", "none"]
"""Normalisation of a discriminator; chosen by the variant, because its loss allows or forbids it."""

Positive = Annotated[float, Gt(0), Lt(float("inf"))]
NonNegative = Annotated[float, Ge(0), Lt(float("inf"))]
Fraction = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]


Setting: TypeAlias = "float | Tensor | tuple[float | Tensor, ...]"
"""What a schedule sets: a number, or several as in Adam's `betas`."""


@dataclass(frozen=True)
class DataSpec:
    """What a network must know of a data set.

    `shape` is `(C, H, W)` for images, float32 in [-1, 1] once served, and `(2,)` for points, float32 and unbounded.
    `classes` is 0 where there are no labels.
    """

    shape: tuple[int, ...]
    task: Task = "generate"
    classes: int = 0

    @property
    def is_image(self) -> bool:
        """Whether a sample is an image rather than a point."""
        return len(self.shape) == 3


class Batch(NamedTuple):
    """One step's real data. `cond`: int64 labels of a variant whose task is `label`, source images of `translate`."""

    real: Tensor
    cond: Tensor | None = None


class Clock(NamedTuple):
    """The time of a step: its number from 0, and the share of the budget spent (0-d, on the device, 0 to 1)."""

    step: int
    progress: Tensor


@dataclass(frozen=True)
class Update:
    """One update that a variant asks the harness to make: minimise `loss` over the parameters of `player`.

    `log` holds 0-d tensors worth a trace (penalties, convergence measures); the harness reads them at ticks only.
    """

    player: str
    loss: Tensor
    log: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """A number and the protocol it was measured under, which says nothing of how the variant makes its samples.

    `reference`: what real images score in the generator's place under the same protocol, the mean where there are
    several disjoint draws of them (`references`), or their expectation where that is known (`is_exact`).
    `near_reference`: best is what real data score, not the extreme. `worst`: what a run counts as that has no value.
    `spread`: standard error of this one number, from parts of the samples. `repeats`: the numbers that `value` is the
    mean of, where samples were drawn several times. `weights`: what was sampled, `raw` or `ema`, nothing where the
    number is of training alone. A metric sets the first two, `higher_is_better`, `worst` and `spread`; the harness the
    others.
    """

    value: float
    protocol: Mapping[str, Any] = field(default_factory=dict)
    reference: float | None = None
    higher_is_better: bool | None = None
    worst: float | None = None
    spread: float | None = None
    near_reference: bool = False
    references: tuple[float, ...] = ()
    is_exact: bool = False
    repeats: tuple[float, ...] = ()
    weights: str = ""

    @cached_property
    def protocol_hash(self) -> str:
        """Eight hexadecimal digits that name the protocol."""
        return digest(self.protocol)[:8]


@dataclass(frozen=True)
class Curve:
    """The norm of a generator's gradient after so many updates of a discriminator trained against it from scratch."""

    iterations: Sequence[int]
    norms: Sequence[float]

    @property
    def decades(self) -> float:
        """By how many powers of ten the norm changed from the first look to the last; NaN where one of them is 0."""
        first, last = self.norms[0], self.norms[-1]
        return math.log10(last / first) if first > 0 and last > 0 else math.nan

    def after(self, iterations: float) -> float:
        """Return the norm at the last look that is not later; at the first look, where all are."""
        looked = [norm for at, norm in zip(self.iterations, self.norms, strict=True) if at <= iterations]
        return looked[-1] if looked else self.norms[0]


def way_back(name: str) -> str:
    """Return the name of a value for a translation back: `pixel-error-back`, `fid-back@10k-test`."""
    plain, at, asked = name.partition("@")
    return f"{plain}{BACK}{at}{asked}"


def digest(content: Any) -> str:
    """Return the SHA-256 of a JSON-like value in canonical form (sorted keys; tuples are lists)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
