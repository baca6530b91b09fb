"""Experiments: small studies, each a plugin that asks the harness for runs and says what it found. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.optim import Optimizer

    from ganbench.contract.backbone import Backbone
    from ganbench.contract.data import ImageSet, Splits
    from ganbench.contract.metrics import Embedding
    from ganbench.contract.types import Curve, Norm
    from ganbench.contract.variant import Variant
    from ganbench.results.record import RunRecord

Plain: TypeAlias = "str | int | float | bool | None"
"""What stands in a cell of a table. A float that is not finite is written as it is: nothing is masked."""


@dataclass(frozen=True)
class Claim:
    """What a paper or a closed form says, and what was found.

    `said`: by whom, with the place (paper, equation, figure); `found`: in numbers. `holds`: None where what was
    measured cannot tell. `reason`: where it does not hold, by how much it differs and why, as far as that was measured.
    """

    said: str
    found: str
    holds: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table for people: numbers as texts that are short enough to be read."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What an experiment found.

    `tables`: for people; `measured`: every number, a mapping a row, for the CSV (the first row names the columns).
    `figures`: by the name of the file, with its caption; the harness writes them as PNG. `protocol`: all that the
    numbers depend on and the harness does not know (sizes, rates, thresholds). `left_out`: by variant, why it has no
    part. `notes`: what a reader must know besides.
    """

    tables: Sequence[Table]
    measured: Sequence[Mapping[str, Plain]]
    claims: Sequence[Claim]
    figures: Mapping[str, tuple[Figure, str]]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Made(Protocol):
    """A finished run that an experiment looks at. `shares`: of the budget, at which its weights were kept."""

    record: RunRecord
    shares: Sequence[float]

    @property
    def data(self) -> Splits:
        """The data that it was trained on."""

    @property
    def device(self) -> torch.device:
        """Where `at` puts the variant."""

    def at(self, share: float = 1.0) -> Variant:
        """Return the variant as it was at a share of the budget: a frozen copy of its raw weights, in evaluation mode.

        Raises `UserError` where these weights were not kept.
        """

    def fresh(self) -> Variant:
        """Return the variant before its first step, in training mode."""

    def epochs(self, share: float) -> float:
        """Return how many times as many images as there are to train on it was served up to a share of its budget."""

    def fingerprint(self, share: float = 1.0) -> str:
        """Return the hash of the weights at a share. Raises as `at`."""

    def traces(self) -> Mapping[str, np.ndarray]:
        """Return all that was traced (`loss/D`, `grad_norm/G`, `log/…`), one entry an update of the player."""

    def at_marks(self, part: float = 0.1) -> Mapping[str, Mapping[float, float]]:
        """Return of all that was traced the median over the last `part` of the updates up to each mark, by its share.

        A mark before the first update of a player has none of what is traced at its updates.
        """

    def probe(
        self,
        share: float,
        iterations: int,
        *,
        batch: int | None = None,
        double: bool = False,
        latents: int = 0,
        norm: Norm | None = None,
        running: bool = False,
        seed: int | None = None,
    ) -> Mapping[str, Curve]:
        """Return the norm of G's gradient while fresh discriminators are trained against it, by the loss of G.

        `log(1-D)` and `-log D` with a fresh D of the backbone, `own` with the variant's own; `batch`: of latents and
        images, by default the run's; `double`: in float64, which draws other latents; `seed`: of latents, images and
        the weights of D, by default the run's. Of the backbone's D alone, and then without `own`: `latents`, of how
        many the loss is the mean, `norm`, its normalisation, and `running`, whether it looks with the running
        statistics of its batch norm.
        """


class Course(Protocol):
    """A variant on small data of an experiment's own, stepped by the harness as in any run."""

    variant: Variant
    period: int

    def advance(self, steps: int = 1) -> str:
        """Make so many steps; return which loss or gradient is no longer finite, nothing where all are."""

    def gradients(self) -> Mapping[str, Sequence[Sequence[Tensor]]]:
        """Return the gradients of what a period's steps would yield, by player and update, of that player's parameters.

        Nothing is updated, so that those of all players are taken at the same point, on the batches and latents of the
        first period, however often the course was advanced. Zeros where a parameter has none.
        """

    def losses(self) -> Mapping[str, Sequence[Tensor]]:
        """Return the losses of what a period's steps would yield, by player and update; nothing is updated."""

    def restart(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """Begin at step 0 again with optimizers that know nothing; `weights`: by name, put in place of what was.

        What is not named stays as it is, buffers too. Raises `UserError` for a name that the variant does not have.
        """


Optimizers: TypeAlias = "Callable[[str, Sequence[Tensor]], Optimizer]"
"""Makes the optimizer of a player (its name, its parameters) in place of the variant's own."""


class Lab(Protocol):
    """What the harness offers an experiment.

    `options`: the experiment's own. `variants`: the names asked for, patterns resolved. `seeds`: those asked for; of
    runs, where none were, theirs. `runs`: what the runs that it asked for came to, finished ones of today's harness
    alone, in the order of variants and seeds. `failed`: by the name of a run, why it is not among them; a note of the
    finding says so where its `left_out` does not.
    """

    options: Any
    variants: Sequence[str]
    seeds: Sequence[int]
    runs: Sequence[Made]
    failed: Mapping[str, str]

    @property
    def rows(self) -> Mapping[str, Sequence[Made]]:
        """Return `runs` that differ in nothing but the seed, by a name that says in what rows differ."""

    def tried(self, runs: Sequence[Made]) -> int:
        """Return how many runs a row of `rows` is of: these, and those that failed and differ in the seed alone."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""

    def tell(self, text: str) -> None:
        """Say what is being done, in a few words."""

    def once(self, key: Mapping[str, Any], compute: Callable[[], Any], *, by_options: bool = True) -> Any:
        """Return what `compute` returns, a JSON-like value, and keep it: given again, the command goes on from there.

        `key`: all that it depends on, as plain values or `Made` (which stands for its identity and weights), but for
        the experiment's own code and options, the harness, the device, and the folders of data and weights. Seeds,
        settings and sizes belong to it, and so do the names of variants and data sets, for which their code counts.
        Arrays become lists. Raises `TypeError` for what cannot be told apart or kept.
        `by_options`: whether it is of these options alone; else the key says what of them counts.
        """

    def course(
        self,
        variant: str,
        data: ImageSet,
        backbone: Backbone,
        *,
        seed: int = 0,
        batch: int = 64,
        settings: Sequence[str] = (),
        optimizers: Optimizers | None = None,
        times: float = 1.0,
        double: bool = False,
    ) -> Course:
        """Put a variant on data and networks of the experiment's own. Raises `UserError` where it does not fit.

        `settings`: options of the variant, `lr=1e-3`. With `optimizers` its schedules are left out, since they set what
        its own optimizers know; what it hooks to its own, as the clipping of weights, stays. `times`: the rates of its
        own optimizers and schedules are multiplied by it. `double`: in float64. What is spent is not metered.
        """

    def open(self, dataset: str, *, size: int = 0, settings: Sequence[str] = ()) -> Splits:
        """Load a data set by its name. Raises `UserError` where it is not to be had."""

    def extractor(self, name: str, dataset: str, data: Splits) -> Embedding:
        """Make an extractor ready for data. Raises `UserError` where its weights are not to be had."""


class Experiment(ABC):
    """A small study, asked for by `ganbench experiment NAME`.

    `paper`: where it comes from. `config`: a frozen dataclass of options, for `--set NAME.field=value`. `variants`:
    whom it takes when nobody is named; patterns as of `ganbench run`, and variants of strangers where they fit.
    `makes_runs`: whether it looks at runs, which `ganbench run` makes or a folder of results holds. `seeds`: which,
    when none are named; where these are none, those of `ganbench run`, and of courses seed 0.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    config: Any = None
    variants: ClassVar[Sequence[str]] = ("all",)
    makes_runs: ClassVar[bool] = False
    seeds: ClassVar[Sequence[int]] = ()

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return requests for runs, each the keywords of `ganbench.run`; `options`: the experiment's own.

        `asked`: what the user said of them (`variants`, `dataset`, `budget`, `seeds`, `set`, …), to be preferred. What
        a request leaves out is as the user says, then as `ganbench run` has it; seeds, and options that the user sets
        and it does not sweep, are the user's whatever it says. A request may ask for `keep`, shares of the budget at
        which weights are kept. No metrics are an empty tuple.
        """
        return ()

    @abstractmethod
    def find(self, lab: Lab) -> Finding:
        """Look, and say what was found. Raises `UserError` where there is nothing to look at."""
