"""Whole steps as graphs: what a device did in one step of a phase is replayed in the next ones, launched at once.

A graph repeats operations and addresses. All that a step computes with on the host is frozen in it, so a graph is used
only where a step that is replayed comes to the same bits as one that is made, and is compared again later. What the
harness itself changes from step to step lies on the device: batch, progress, rates of learning. Where nothing can be
captured, or anything differs, steps are made as ever and `refused` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganbench.contract.types import Batch, Clock
from ganbench.errors import brief
from ganbench.training.arithmetic import OF_PYTORCH
from ganbench.training.capture import Recorder
from ganbench.training.guard import Unfair
from ganbench.training.held import Place, copied, difference, moved, places, put_back
from ganbench.training.tracing import PhaseOnly, Uncompilable

COMPARED = (0, 256, 4096)
"""So many periods after its capture a graph is compared with the step itself."""
PATIENCE = 4
"""Settings must rest so many times longer after each capture of a phase: a change of one makes a graph wrong."""
Settings: TypeAlias = list[Any]


@dataclass(frozen=True)
class Made:
    """What a step came to: the players that it updated, in order, and what it traced, by name, 0-d."""

    moved: list[str]
    traced: Mapping[str, list[Tensor]]


@dataclass
class Graph:
    """A step of a phase, captured. `packed`: what it traces, by type; `places`: by name, where in it.

    `settings`: the numbers of the host that optimizers had. `since`: the period in which it was captured. `compared`:
    how often it has been found to be what the step is.
    """

    settings: Settings
    since: int
    moved: list[str] = field(default_factory=list)
    places: dict[str, list[tuple[torch.dtype, int]]] = field(default_factory=dict)
    packed: dict[torch.dtype, Tensor] = field(default_factory=dict)
    replay: Callable[[], None] = lambda: None
    compared: int = 0

    def results(self) -> Made:
        """Return what the last replay came to, as copies: the next one writes in the same places."""
        taken = {dtype: values.clone() for dtype, values in self.packed.items()}
        traced = {name: [taken[dtype][row] for dtype, row in rows] for name, rows in self.places.items()}
        return Made(list(self.moved), traced)


@dataclass(frozen=True)
class Rehearsal:
    """A replay that was made undone. `before`, `after`: states on the host; `traced`: what it traced, by name.

    `again`: repeats it from the states that are there.
    """

    phase: int
    graph: Graph
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    traced: Mapping[str, Tensor]
    again: Callable[[], None]


class Graphs:
    """The steps of one variant in training as graphs, one for each phase of its period.

    `make`: performs a step so that nothing but its operations counts. `refused`: why none is replayed, or nothing.
    `replays`: how many steps were. `compared_at`: so many periods after its capture a graph is compared with the step.
    """

    def __init__(
        self,
        recorder: Recorder,
        variant: nn.Module,
        optimizers: Mapping[str, Optimizer],
        period: int,
        make: Callable[[Batch, Clock], Made],
    ) -> None:
        self._recorder, self._variant, self._optimizers, self._period = recorder, variant, optimizers, period
        self._make = make
        self.compared_at: Sequence[int] = COMPARED
        self.replays, self.refused = 0, ""
        own = [type(each).__name__ for each in optimizers.values() if type(each) not in OF_PYTORCH]
        if own:
            self.refused = f"{own[0]} is not an optimizer of PyTorch"
        self.forget()

    def forget(self) -> None:
        """Begin anew, as when tensors have taken the place of others."""
        self._graphs: dict[int, Graph] = {}
        self._captures: dict[int, int] = {}  # by phase, how often
        self._before: dict[int, tuple[Settings, int]] = {}  # settings by phase, and for how many periods they rest
        self._batch: Batch | None = None
        self._progress: Tensor | None = None

    def replay(self, number: int, batch: Batch, progress: float, seed: Callable[[], None]) -> Made | None:
        """Make a step by its graph and return what it came to; None where there is none, or it is to be compared."""
        graph = self._graphs.get(number % self._period)
        if graph is None or self._is_due(graph, number) or not _same(graph.settings, self._settings()):
            return None
        self._fill(batch, progress)
        seed()
        graph.replay()
        self.replays += 1
        return graph.results()

    def rehearse(self, number: int, batch: Batch, progress: float, seed: Callable[[], None]) -> Rehearsal | None:
        """Before a step is made, replay it where that is due, capturing it first, and put back all that it changed.

        None where nothing is to be compared.
        """
        phase, settings = number % self._period, self._settings()
        before, rests = self._before.get(phase, (None, 0))
        rests = rests + 1 if _same(before, settings) else 0
        self._before[phase] = settings, rests
        graph = self._graphs.get(phase)
        if graph is not None and not _same(graph.settings, settings):
            del self._graphs[phase]
            graph = None
        if self.refused or (graph is None and rests < PATIENCE ** self._captures.get(phase, 0)):
            return None
        if graph is not None and not self._is_due(graph, number):
            return None
        held = places(self._variant, self._optimizers)
        states, gradients = copied(held), [(weight, weight.grad) for weight in self._variant.parameters()]
        try:
            self._fill(batch, progress)
            if graph is None:
                for weight, _ in gradients:
                    weight.grad = None  # those of earlier steps are not there in a replay
                graph = self._capture(number, settings)
                if name := moved(held, places(self._variant, self._optimizers)):
                    raise Uncompilable(f"its step puts a new tensor in the place of {name}")

            def again(graph: Graph = graph) -> None:
                seed()
                graph.replay()

            put_back(held, states)  # a recorder may carry out what it records
            again()
            return Rehearsal(phase, graph, states, copied(held), _joined(graph.results()), again)
        except Exception as error:  # a plugin, or a device, may refuse in any way
            if phase in self._graphs:
                raise
            self._refuse(_told(error))
            return None
        finally:
            put_back(held, states)
            for weight, gradient in gradients:
                weight.grad = gradient

    def compare(self, rehearsal: Rehearsal, made: Made, number: int) -> None:
        """Use a graph from now on where the step that was made after its rehearsal came to the same bits.

        Raises `Unfair` where it does so no longer: the steps between were not what the variant says.
        """
        graph, held = rehearsal.graph, places(self._variant, self._optimizers)
        states = copied(held)
        apart = difference(rehearsal.after, states) or difference(rehearsal.traced, _joined(made))
        if not apart and made.moved != graph.moved:
            apart = "order of updates"
        if not apart:
            graph.compared += 1
            self._graphs[rehearsal.phase] = graph
        elif self._is_unsteady(rehearsal, held, states):
            self._refuse(f"its kernels give another {apart} each time")
        elif not graph.compared:
            self._refuse(f"replayed, its step comes to another {apart}")
        else:
            raise Unfair(
                f"step {number} comes to another {apart} than the CUDA graph of its phase, so that steps since period "
                f"{graph.since} may be wrong: what a step does may depend on tensors and its place in the period "
                f"alone; --compile off makes each step anew"
            )

    def _is_unsteady(self, rehearsal: Rehearsal, held: Sequence[Place], states: Mapping[str, Tensor]) -> bool:
        """Whether a replay does not even repeat itself; leaves the states as they are."""
        try:
            put_back(held, rehearsal.before)
            rehearsal.again()
            found, traced = copied(held), _joined(rehearsal.graph.results())
            return bool(difference(rehearsal.after, found) or difference(rehearsal.traced, traced))
        finally:
            put_back(held, states)

    def _is_due(self, graph: Graph, number: int) -> bool:
        next_time = self.compared_at[graph.compared : graph.compared + 1]
        return bool(next_time) and number // self._period >= graph.since + next_time[0]

    def _refuse(self, reason: str) -> None:
        self.forget()
        self.refused = brief(reason, 300)

    def _capture(self, number: int, settings: Settings) -> Graph:
        phase = number % self._period
        self._captures[phase] = self._captures.get(phase, 0) + 1
        graph = Graph(settings, number // self._period)
        batch, progress = self._batch, self._progress
        assert batch is not None and progress is not None
        # Of the number of the step no more can be learned than its place in the period.
        clock = Clock(cast(int, PhaseOnly(number, self._period)), progress)

        def step() -> None:
            made = self._make(batch, clock)
            graph.moved = made.moved
            graph.places, graph.packed = _packed(made.traced)

        graph.replay = self._recorder(step)
        return graph

    def _fill(self, batch: Batch, progress: float) -> None:
        if self._batch is None or self._progress is None:
            self._batch = Batch(*(None if each is None else each.clone() for each in batch))  # type: ignore[arg-type]
            self._progress = torch.zeros((), device=batch.real.device)
        for mine, new in zip(self._batch, batch, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        self._progress.fill_(progress)

    def _settings(self) -> Settings:
        """Return what optimizers are told by the host, and tensors, whose content may change."""
        found: Settings = []
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                for name, value in group.items():
                    if name != "params":
                        found.extend(value) if isinstance(value, tuple | list) else found.append(value)
        return found


def _same(one: Settings | None, other: Settings) -> bool:
    if one is None or len(one) != len(other):
        return False
    return all(
        mine is yours or (not (isinstance(mine, Tensor) or isinstance(yours, Tensor)) and mine == yours)
        for mine, yours in zip(one, other, strict=True)
    )


def _packed(
    traced: Mapping[str, Sequence[Tensor]],
) -> tuple[dict[str, list[tuple[torch.dtype, int]]], dict[torch.dtype, Tensor]]:
    places, values = dict[str, list[tuple[torch.dtype, int]]](), dict[torch.dtype, list[Tensor]]()
    for name, of in traced.items():
        for value in of:
            rows = values.setdefault(value.dtype, [])
            places.setdefault(name, []).append((value.dtype, len(rows)))
            rows.append(value)
    return places, {dtype: torch.stack(rows) for dtype, rows in values.items()}


def _joined(made: Made) -> dict[str, Tensor]:
    """Return what a step traced, on the host."""
    return {name: torch.stack([value.cpu() for value in values]) for name, values in made.traced.items()}


def _told(error: Exception) -> str:
    if isinstance(error, TypeError) and "PhaseOnly" in str(error):  # an operation that it does not have
        return "its step depends on the number of the step, not only on its place in the period"
    told = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, Uncompilable):
        return told
    return f"capturing its step fails, {type(error).__name__}: {told}"
