"""What a user asks for, and the plan that is made of it, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganbench.contract.types import Split
from ganbench.runs.job import Job

if TYPE_CHECKING:  # it imports torch, which a command that shows a plan need not
    from ganbench.training.bench import Bench


@dataclass(frozen=True)
class Request:
    """What the user asked for; None means the data set's default. `seeds`: how many, from 0, or which.

    `compiled`: True for compiled code, "graph" for CUDA graphs, False for neither, None for graphs where there is CUDA.
    `elsewhere`: whether runs are made on other machines, where their device is looked at; `device` is then of the plan.
    `reference`: the split that samples are compared with. `score`: `raw` or `ema` or both; by default the average where
    a variant keeps one. `devices`: on how many each run is made. `repeats`: how often each trained variant is sampled
    at its end. `sweeps`: options of which each value makes runs of its own. `keep`: shares of the budget at which
    weights are kept besides the end.
    """

    variants: Sequence[str]
    datasets: Sequence[str]
    backbone: str | None = None
    budget: str | None = None
    seeds: int | Sequence[int] = 3
    size: int = 0
    batch: int = 64
    precision: str = "fp32"
    compiled: bool | Literal["graph"] | None = None
    elsewhere: bool = False
    metrics: Sequence[str] | None = None
    marks: int = 5
    marks_metrics: Sequence[str] = ()
    samples: int | None = None
    reference: Split = "test"
    score: Sequence[str] = ()
    repeats: int = 1
    settings: Sequence[str] = ()
    sweeps: Sequence[str] = ()
    preset: str = ""
    plugins: Sequence[Path] = ()
    data_root: Path = Path("data")
    weights: Path | None = None
    device: str = "cpu"
    devices: int = 1
    keep: Sequence[float] = ()

    @property
    def seed_numbers(self) -> Sequence[int]:
        """The seeds, one by one."""
        return range(self.seeds) if isinstance(self.seeds, int) else self.seeds


@dataclass(frozen=True)
class Skip:
    """A variant that does not fit a data set, and why."""

    variant: str
    dataset: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Jobs in the order in which they run, what is left out with its reason, and notes for the user.

    `benches`: what was opened for it, by data set as it was asked for. `missing`: by data set and metric, why it cannot
    be computed.
    """

    jobs: list[Job] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    benches: dict[str, Bench] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
