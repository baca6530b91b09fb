"""Observers: what hears of runs while they are made, and the events that it is given, which nobody can change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

THREAD = "observer "
"""How the name of an observer's thread begins."""


@dataclass(frozen=True)
class ObservedRun:
    """A run. `id`: the same whenever it is continued; `name`: for people, not unique; `numbers`: `ganbench.NUMBERS`.

    `spec`: all that defines the run, as its record holds it; `asked`: how it is made and scored beyond that (device,
    metrics, marks, samples, parameters by network).
    """

    id: str
    name: str
    variant: str
    dataset: str
    seed: int
    numbers: int
    spec: Mapping[str, Any]
    asked: Mapping[str, Any]


@dataclass(frozen=True)
class Spent:
    """What a run has spent so far. `updates`: by player; `seconds`: of training alone, over all resumes."""

    steps: int
    images: int
    updates: Mapping[str, int]
    flops: float
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Measured:
    """A value of a metric, NaN where it is. `protocol_hash`: eight digits that name the protocol.

    `reference`: what real data score; `weights`: `raw`, `ema`, or nothing for a metric of training alone.
    """

    value: float
    protocol_hash: str
    protocol: Mapping[str, Any]
    reference: float | None
    higher_is_better: bool | None
    weights: str


@dataclass(frozen=True)
class SweepStarted:
    """A command begins to make runs. `runs`: all that are left to make; `command`: as it was given, without secrets."""

    runs: Sequence[ObservedRun]
    command: str
    results: str


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on from a checkpoint. `before`: what it had spent when its record was last written."""

    run: ObservedRun
    command: str
    before: Spent


@dataclass(frozen=True)
class RunTicked:
    """A run goes on: every 50 steps, at least once a second. `share`: of its budget; `losses`: each player's latest."""

    run: ObservedRun
    share: float
    spent: Spent
    losses: Mapping[str, float]


@dataclass(frozen=True)
class RunMarked:
    """A run was scored. `values`: by metric; `raw`: those of the raw weights, where the average is scored as well.

    `pictures`: PNG files by name, `samples` as a rule.
    """

    run: ObservedRun
    share: float
    spent: Spent
    values: Mapping[str, Measured]
    raw: Mapping[str, Measured]
    pictures: Mapping[str, bytes]


@dataclass(frozen=True)
class RunEnded:
    """A run ended, or was stopped. `status`: done, diverged, error or killed; `record`: all that its record holds.

    `values`: by metric, one a protocol and weights, those of the end; `unscored`: by metric, why it has none.
    """

    run: ObservedRun
    status: str
    error: str
    spent: Spent
    values: Mapping[str, Sequence[Measured]]
    unscored: Mapping[str, str]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class SweepEnded:
    """The command makes no more runs: the last event. `statuses`: how many ended how; `stopped`: before its end."""

    statuses: Mapping[str, int]
    stopped: bool


Happening: TypeAlias = SweepStarted | RunStarted | RunTicked | RunMarked | RunEnded | SweepEnded
"""What an observer hears of. All of it is immutable: dataclasses, mappings, tuples, numbers, texts and bytes."""


class Observer(ABC):
    """What hears of runs, asked for by `--observe NAME` or `--observe NAME:ARGUMENT`.

    It lives in the process of the command, in a thread of its own, and sees no run but through events. Where it raises,
    or does not end in time, it is named on standard error and left out, and the runs go on. `form`: how it is asked for
    (`lines[:FILE]`). `needs`: modules that it imports when it is opened; `install`: what brings them. `secret`: its
    argument must not be shown. Its own module imports neither these nor torch, since the command waits for it.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    form: ClassVar[str] = ""
    needs: ClassVar[Sequence[str]] = ()
    install: ClassVar[str] = ""
    secret: ClassVar[bool] = False

    def check(self, argument: str) -> None:
        """Raise `UserError` where the argument (empty for none) is wrong: asked before anything is trained."""
        return

    @abstractmethod
    def open(self, argument: str) -> Callable[[Happening], object]:
        """Make ready, and return what is called with each event, in the order in which they happen.

        The first is `SweepStarted`, the last `SweepEnded`: then all must be written. Of one run come `RunStarted`,
        ticks and marks, and `RunEnded`; those of several runs are mixed. Ticks are left out where it is slower than
        the runs.
        """
