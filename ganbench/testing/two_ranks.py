"""Whether two devices, each with half of a batch, make the steps that one makes with all of it.

Arithmetic is in float64, so that what differs is no rounding. The one device draws what the two draw, joined: latents
and noise have a row, or a column, a sample. In which order a batch lies is open where a step divides it (two halves for
two players, packs of neighbours), and so both orders are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganbench.contract.types import Batch
from ganbench.contract.variant import Variant
from ganbench.seeds import derive
from ganbench.testing.subject import Subject
from ganbench.testing.taking_turns import together
from ganbench.testing.watching import require
from ganbench.toolbox.ranks import Group
from ganbench.training.arithmetic import default_dtype
from ganbench.training.ranks import Ranks
from ganbench.training.trainer import Trainer

TOLERANCE = 1e-8
"""As a share of the largest number of a tensor; rounding of float64 leaves 1e-10 after a few steps."""
NOTHING = 1e-10
"""A difference that is none, whatever it is a share of: of gradients that are nothing but rounding."""
TINY = 1e-30
GAIN = 1.4
DEVICES = 2
BATCH = 6
"""Of samples, and of nothing else that is drawn: a size that is a multiple of it counts samples."""
Rows = Callable[[int], list[Tensor]]
"""By rank, which rows of so many are its own."""


def difference_of_two_ranks(subject: Subject) -> str:
    """Return in what two ranks and one device differ after a period and a step, or nothing."""
    # On a CPU, where ranks meet in the threads that ask for gradients.
    subject = replace(subject, batch=BATCH, device=torch.device("cpu"))
    with default_dtype(torch.float64):
        trainers: list[Trainer] = []
        together([partial(_make_rank, subject, rank, trainers) for rank in range(DEVICES)])
        two = _results(trainers[0])
        found: list[tuple[float, str]] = []
        for rows in (partial(_by_chunk, subject.batch), _in_one):
            share, told = _furthest(two, _results(_make_one(subject, rows)))
            if share <= TOLERANCE:
                return ""
            found.append((share, told))
    return min(found)[1]


def _make_rank(subject: Subject, rank: int, trainers: list[Trainer], group: Group) -> None:
    with Wide():
        trainer = _trainer(subject, Ranks(rank, DEVICES, group), rows=None)
        trainers.append(trainer)
        for _ in range(trainer.period + 1):
            trainer.step()
        trainer.ranks.require_alike(trainer.variant, trainer.variant.name, trainer.meters.steps)
        trainer.traces()  # which averages them over ranks


def _make_one(subject: Subject, rows: Rows) -> Trainer:
    with Wide(rows, subject.batch) as drawing:
        trainer = _trainer(subject, Ranks(), rows)
        for number in range(trainer.period + 1):
            drawing.begin([derive(trainer.seed, "step", number, "rank", rank) for rank in range(DEVICES)])
            trainer.step()
        return trainer


def _trainer(subject: Subject, ranks: Ranks, rows: Rows | None) -> Trainer:
    trainer = subject.trainer(ranks=ranks, wide=True)
    _enliven(trainer.variant.train())
    trainer.stream = _Served(trainer.stream, rows)  # type: ignore[assignment]
    return trainer


@torch.no_grad()
def _enliven(variant: Variant) -> None:
    """Scale weights so that signals pass narrow networks undiminished: where none arrives, nothing is told apart."""
    for weight in variant.parameters():
        if weight.ndim > 1 and (deviation := float(weight.std())) > 0:
            weight.mul_(GAIN / (deviation * weight[0].numel() ** 0.5))


class _Served:
    """A stream in float64, in the order in which two ranks are served its batches."""

    def __init__(self, stream: Any, rows: Rows | None) -> None:
        self._stream, self._rows = stream, rows

    def __getitem__(self, step: int) -> Batch:
        real, cond = self._stream[step]
        return Batch(self._ordered(real), None if cond is None else self._ordered(cond))

    def _ordered(self, part: Tensor) -> Tensor:
        if self._rows is not None:
            # The ranks' parts follow one another in the stream; each goes to the rows that are that rank's.
            ordered = torch.empty_like(part)
            ordered[torch.cat(self._rows(len(part)))] = part
            part = ordered
        return part.double() if part.is_floating_point() else part


def _by_chunk(batch: int, n: int) -> list[Tensor]:
    """Give each rank half of each batch of the comparison: what a step divides, it divides in the same way on both."""
    rows = torch.arange(n).view(-1, DEVICES, batch // DEVICES) if n % batch == 0 else torch.arange(n).view(DEVICES, -1)
    return [rows[:, rank].flatten() for rank in range(DEVICES)] if rows.ndim == 3 else list(rows)


def _in_one(n: int) -> list[Tensor]:
    """Give each rank the half of all: neighbours stay together."""
    return list(torch.arange(n).view(DEVICES, -1))


class Wide(TorchDispatchMode):
    """Compute in float64 what asks for float32; with `rows`, draw for each rank by itself what has a row a sample."""

    def __init__(self, rows: Rows | None = None, batch: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._batch = rows, batch
        self._states: list[Tensor] = []

    def begin(self, seeds: list[int]) -> None:
        """Begin a step, in which rank r draws from seed r."""
        self._states = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, in parts where it is a draw."""
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") == torch.float32:
            kwargs["dtype"] = torch.float64
        if self._states and torch.Tag.nondeterministic_seeded in func.tags:
            return self._drawn(func, args, kwargs)
        return func(*args, **kwargs)

    def _drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        place = next((found for each in args if (found := self._samples(each))), None)
        if place is None:  # no draw of samples: nobody's but the first rank's, and so not what the ranks do
            return self._as_rank(0, func, args, kwargs)
        assert self._rows is not None
        axis, n = place
        rows = self._rows(n)
        parts = [
            self._as_rank(rank, func, [self._part(each, own, place) for each in args], kwargs)
            for rank, own in enumerate(rows)
        ]
        in_place = func.__name__.partition(".")[0].endswith("_")
        return _joined(parts, rows, axis, args[0] if in_place else None)

    def _as_rank(self, rank: int, func: Any, args: Any, kwargs: Any) -> Any:
        torch.set_rng_state(self._states[rank])
        drawn = func(*args, **kwargs)
        self._states[rank] = torch.get_rng_state()
        return drawn

    def _samples(self, argument: Any) -> tuple[int, int] | None:
        """Return along which of its first two axes a tensor, or a size, has samples, and how many."""
        sizes = argument.shape if isinstance(argument, Tensor) else argument
        if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) for size in sizes):
            return None
        return next(((axis, n) for axis, n in enumerate(sizes[:2]) if n and n % self._batch == 0), None)

    def _part(self, argument: Any, rows: Tensor, place: tuple[int, int]) -> Any:
        if self._samples(argument) != place:
            return argument
        axis, _ = place
        if isinstance(argument, Tensor):
            return argument.index_select(axis, rows)
        return [*argument[:axis], len(rows), *argument[axis + 1 :]]


def _joined(parts: list[Any], rows: list[Tensor], axis: int, into: Tensor | None) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each), rows, axis, None) for each in zip(*parts, strict=True))
    order = torch.cat(rows).argsort()
    whole = torch.cat(parts, axis).index_select(axis, order)
    return whole if into is None else into.copy_(whole)


def _results(trainer: Trainer) -> dict[str, Tensor]:
    """Return losses, norms of gradients, and what the steps have made of weights and buffers."""
    traces = {name: torch.as_tensor(trace) for name, trace in trainer.traces().items() if not name.startswith("log/")}
    return {**traces, **{name: each for name, each in trainer.variant.state_dict().items() if each.numel()}}


def _furthest(two: dict[str, Tensor], one: dict[str, Tensor]) -> tuple[float, str]:
    """Return by what share two sets of results differ most, and in what: of those that do, the first."""
    require(two.keys() == one.keys(), "two devices and one make updates of other players")
    most, told = 0.0, ""
    for name, expected in one.items():
        found, expected = two[name].double(), expected.double()
        scale, largest = float(expected.abs().max()), float((found - expected).abs().max())
        share = largest / max(scale, TINY) if largest > NOTHING else 0.0
        if not share <= TOLERANCE and not told:
            told = f"{name} differs by {largest:.2g}, where its largest number is {scale:.2g}"
        most = max(most, share if share == share else math.inf)
    return most, told
