"""Whole steps as graphs: what a device did in one step of a phase is replayed in the next ones, launched at once.

A graph repeats operations and addresses. All that a step computes with on the host is frozen in it, so a graph is used
only where a step that is replayed comes to the same bits as one that is made, and is compared again later. What the
harness itself changes from step to step lies on the device: batch, progress, rates of learning. Where nothing can be
captured, or anything differs, steps are made as ever and `refused` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganbench.contract.types import Batch, Clock
from ganbench.errors import brief
from ganbench.training.arithmetic import OF_PYTORCH
from ganbench.training.capture import Recorder
from ganbench.training.guard import Unfair
from ganbench.training.tracing import PhaseOnly, Uncompilable

COMPARED = (0, 256, 4096)
"""So many periods after its capture a graph is compared with the step itself."""
CAPTURES = 8
"""So often is a phase captured at most: settings that a schedule changes now and then make a graph wrong."""
Held = tuple[str, MutableMapping[Any, Any], Any, Tensor]
"""What outlives a step: how it is called, where it is kept and under which key, and the tensor."""


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

    settings: list[Any]
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
    """What a replay came to that is then made undone, on the host: states and traces."""

    phase: int
    graph: Graph
    states: Mapping[str, Tensor]
    made: Made


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
        self._captures: dict[int, int] = {}
        self.forget()

    def forget(self) -> None:
        """Begin anew, as when tensors have taken the place of others."""
        self._graphs: dict[int, Graph] = {}
        self._before: dict[int, list[Any]] = {}  # settings by phase, one period ago
        self._batch: Batch | None = None
        self._progress: Tensor | None = None

    def replay(self, number: int, batch: Batch, progress: float, seed: Callable[[], None]) -> Made | None:
        """Make a step by its graph and return what it came to; None where there is none, or it is to be compared."""
        graph = self._graphs.get(number % self._period)
        if graph is None or self._is_due(graph, number) or graph.settings != self._settings():
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
        settled, self._before[phase] = self._before.get(phase) == settings, settings
        graph = self._graphs.get(phase)
        if graph is not None and graph.settings != settings:
            del self._graphs[phase]
            graph = None
        if self.refused or not settled or (graph is None and self._captures.get(phase, 0) >= CAPTURES):
            return None
        if graph is not None and not self._is_due(graph, number):
            return None
        held = list(self._held())
        saved = [tensor.detach().to("cpu", copy=True) for *_, tensor in held]
        gradients = [(weight, weight.grad) for weight in self._variant.parameters()]
        try:
            self._fill(batch, progress)
            if graph is None:
                graph = self._capture(number, settings)
                self._require_places(held)
            _put_back(held, saved)  # a recorder may carry out what it records
            seed()
            graph.replay()
            found = graph.results()
            traced = {name: [value.cpu() for value in values] for name, values in found.traced.items()}
            return Rehearsal(phase, graph, _copied(held), Made(found.moved, traced))
        except Exception as error:  # a plugin, or a device, may refuse in any way
            if phase in self._graphs:
                raise
            self._refuse(_told(error))
            return None
        finally:
            _put_back(held, saved)
            for weight, gradient in gradients:
                weight.grad = gradient

    def compare(self, rehearsal: Rehearsal, made: Made, number: int) -> None:
        """Use a graph from now on where the step that was made after its rehearsal came to the same bits.

        Raises `Unfair` where it does so no longer: the steps between were not what the variant says.
        """
        graph, states = rehearsal.graph, _copied(list(self._held()))
        apart = _difference(rehearsal.states, states) or _difference(_traces(rehearsal.made), _traces(made))
        if not apart and made.moved != rehearsal.made.moved:
            apart = "order of updates"
        if apart and graph.compared:
            raise Unfair(
                f"step {number} comes to another {apart} than the CUDA graph of its phase, so that steps since period "
                f"{graph.since} may be wrong: what a step does may depend on tensors and its place in the period "
                f"alone; --compile off makes each step anew"
            )
        if apart:
            self._refuse(f"replayed, its step comes to another {apart}")
            return
        graph.compared += 1
        self._graphs[rehearsal.phase] = graph

    def _is_due(self, graph: Graph, number: int) -> bool:
        next_time = self.compared_at[graph.compared : graph.compared + 1]
        return bool(next_time) and number // self._period >= graph.since + next_time[0]

    def _refuse(self, reason: str) -> None:
        self.forget()
        self.refused = brief(reason, 300)

    def _capture(self, number: int, settings: list[Any]) -> Graph:
        phase = number % self._period
        self._captures[phase] = self._captures.get(phase, 0) + 1
        graph = Graph(settings, number // self._period)
        batch, progress = self._batch, self._progress
        assert batch is not None and progress is not None
        # Of the number of the step no more can be learned than its place in the period.
        clock = Clock(cast(int, PhaseOnly(number, self._period)), progress)
        self._variant.zero_grad(set_to_none=True)  # gradients of earlier steps are not there in a replay

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

    def _settings(self) -> list[Any]:
        """Return what optimizers are told by the host; a tensor is known by itself, its content may change."""
        groups = [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]
        return [
            (name, id(value) if isinstance(value, Tensor) else value)
            for group in groups
            for name, value in group.items()
            if name != "params"
        ]

    def _held(self) -> Iterator[Held]:
        seen: set[int] = set()
        for path, module in self._variant.named_modules():
            for kept in (module._parameters, module._buffers):
                for name, tensor in kept.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        yield f"{path}.{name}".lstrip("."), cast("MutableMapping[Any, Any]", kept), name, tensor
        for player, optimizer in self._optimizers.items():
            for number, state in enumerate(optimizer.state.values()):
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        yield f"{name} {number} of the optimizer of {player}", state, name, value

    def _require_places(self, held: Sequence[Held]) -> None:
        """Raise where a step has put tensors in the place of others, or has made some that stay."""
        known, now = {id(tensor) for *_, tensor in held}, list(self._held())
        for name, *_, tensor in now:
            if id(tensor) not in known:
                raise Uncompilable(f"its step puts a new tensor in the place of {name}")
        if len(now) != len(held):
            raise Uncompilable("its step drops tensors that outlive it")


@torch.no_grad()
def _put_back(held: Sequence[Held], saved: Sequence[Tensor]) -> None:
    for (_, kept, key, tensor), content in zip(held, saved, strict=True):
        kept[key] = tensor
        tensor.copy_(content)


def _copied(held: Sequence[Held]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, *_, tensor in held}


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


def _traces(made: Made) -> dict[str, Tensor]:
    return {name: torch.stack([value.cpu() for value in values]) for name, values in made.traced.items()}


def _difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the name of the first tensor that differs in any bit, or nothing."""
    if one.keys() != other.keys():
        return next(iter(one.keys() ^ other.keys()))
    return next((name for name, mine in one.items() if not torch.equal(_bits(mine), _bits(other[name]))), "")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _told(error: Exception) -> str:
    if isinstance(error, TypeError) and "PhaseOnly" in str(error):  # an operation that it does not have
        return "its step depends on the number of the step, not only on its place in the period"
    told = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, Uncompilable):
        return told
    return f"capturing its step fails, {type(error).__name__}: {told}"
