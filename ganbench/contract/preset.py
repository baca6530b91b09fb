"""Presets: a published comparison as one word, with its protocol and the numbers that were published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ganbench.errors import UserError

ErrorKind: TypeAlias = Literal["", "standard error", "standard deviation", "interval"]
"""What a published ± is: of the mean, of single runs, half of a 95 % interval of the mean, or nothing that is known."""


@dataclass(frozen=True)
class Entry:
    """A row of a comparison: a variant and its own options (`lr=1e-3`). `label`: where several are of one variant."""

    variant: str
    settings: Sequence[str] = ()
    label: str = ""


@dataclass(frozen=True)
class Published:
    """A number that a paper gives for an entry, named by its label or variant.

    `error`: as it stands there, of the `kind`; `runs`: how many trained models the number is the mean of. Where the
    paper says both, a report shows the interval that it shows of its own numbers.
    """

    dataset: str
    label: str
    metric: str
    value: float
    error: float | None = None
    runs: int | None = None
    kind: ErrorKind = ""

    def __post_init__(self) -> None:
        if self.kind not in (known := get_args(ErrorKind)):
            raise UserError(f"{self.label} on {self.dataset}, {self.metric}: kind={self.kind!r} is none of {known}")


@dataclass(frozen=True)
class Preset:
    """A comparison from the literature.

    `settings`: options with their owner (`mlp.width=400`) that all entries share. `request`: the other fields of
    `ganbench run` (`backbone`, `budget`, `batch`, `seeds`, `samples`, `metrics`, `marks`). `source`: where the protocol
    and the published numbers stand. `departures`: what differs from it here, for the caption.
    """

    name: str
    summary: str
    source: str
    datasets: Sequence[str]
    entries: Sequence[Entry]
    request: Mapping[str, Any]
    settings: Sequence[str] = ()
    published: Sequence[Published] = field(default_factory=tuple)
    departures: str = ""
