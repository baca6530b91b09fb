"""The trace of one step of a variant: what it computes between its updates, as graphs that can be compiled."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.optim import Optimizer

from ganbench.contract.types import Batch, Clock, digest
from ganbench.contract.variant import Variant
from ganbench.training.rewriting import DRAWN, REWRITTEN

Source = tuple[MutableMapping[str, Any], str]
"""Where a tensor lies that outlives steps: a module's parameters or buffers, or the state that an optimizer has."""


class Uncompilable(Exception):
    """A step is more than a fixed sequence of operations on tensors; the message completes "it cannot be compiled"."""


class PhaseOnly:
    """The number of a step, of which no more can be learned than its place in the period."""

    def __init__(self, number: int, period: int) -> None:
        self._number, self._period = number, period

    def __add__(self, other: int) -> PhaseOnly:
        return PhaseOnly(self._number + other, self._period)

    __radd__ = __add__

    def __sub__(self, other: int) -> PhaseOnly:
        return self + -other

    def __mod__(self, other: int) -> int:
        if other < 1 or self._period % other:
            raise Uncompilable(
                f"its step asks for the number of the step modulo {other}, but its period is {self._period}"
            )
        return self._number % other

    def _refuse(self, *_: Any) -> Any:
        raise Uncompilable("its step depends on the number of the step, not only on its place in the period")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __int__ = __index__ = __float__ = __floordiv__ = _refuse
    __hash__ = __str__ = __format__ = __truediv__ = __mul__ = __rmul__ = __rsub__ = __neg__ = __divmod__ = _refuse


@dataclass(frozen=True)
class Stretch:
    """What a step computes up to one update, or after its last.

    `drawn`: random numbers, drawn beforehand in their order. `given`: what comes from outside and from earlier
    stretches. `results`: loss, log and gradients, in that order; `kept`: what later stretches need.
    """

    player: str
    log: tuple[str, ...]
    has_gradient: tuple[bool, ...]
    drawn: tuple[fx.Node, ...]
    given: tuple[fx.Node, ...]
    kept: tuple[fx.Node, ...]
    module: fx.GraphModule


@dataclass(frozen=True)
class Trace:
    """A step as stretches. `inputs`: the nodes of what comes from outside; equal `key`s mean equal computations."""

    inputs: tuple[fx.Node, ...]
    stretches: tuple[Stretch, ...]
    key: str


def sources(variant: nn.Module, optimizers: Mapping[str, Optimizer]) -> list[Source]:
    """Return where everything lies that a step may read."""
    found: list[Source] = []
    for module in variant.modules():
        for held in (module._parameters, module._buffers):
            found += [(cast(MutableMapping[str, Any], held), name) for name, each in held.items() if each is not None]
    for optimizer in optimizers.values():
        for state in optimizer.state.values():
            found += [(state, name) for name, each in state.items() if isinstance(each, Tensor)]
    # A tensor that is shared between modules is one input.
    return list({id(held[name]): (held, name) for held, name in found}.values())


def trace(
    variant: Variant,
    players: Mapping[str, Sequence[Tensor]],
    inputs: Sequence[Source],
    batch: Batch,
    clock: Clock,
) -> Trace:
    """Follow one step, without its updates, and leave weights and buffers as they were.

    Raises `Uncompilable` where what it did need not be what it does in the next step of its phase.
    """
    tensors = [held[name] for held, name in inputs]
    buffers = dict(variant.named_buffers())
    saved = {name: buffer.clone() for name, buffer in buffers.items()}
    chance = random.getstate(), _numpy_state()
    served = [each for each in (*batch, clock.progress) if each is not None]
    ends: list[tuple[str, tuple[str, ...], tuple[bool, ...]]] = []
    phase_only = Clock(cast(int, PhaseOnly(clock.step, variant.period)), clock.progress)

    def step(*_: Tensor) -> list[tuple[Tensor, ...]]:
        graph, found = get_proxy_mode().tracer.graph, []  # type: ignore[union-attr]
        for update in _yielded(variant, batch, phase_only):
            weights = players[update.player]
            gradients = torch.autograd.grad(update.loss, weights, allow_unused=True)
            _number(graph, len(ends))
            ends.append((update.player, tuple(update.log), tuple(each is not None for each in gradients)))
            found.append((update.loss, *update.log.values(), *_apart(gradients, tensors)))
        _number(graph, len(ends))
        return found

    try:
        module = make_fx(step, decomposition_table=REWRITTEN)(*tensors, *served)
        changed = [name for name, buffer in buffers.items() if not torch.equal(buffer, saved[name])]
        if [name for name, buffer in variant.named_buffers() if buffers.get(name) is not buffer]:
            raise Uncompilable("its step puts new tensors in the place of its buffers")
    finally:
        with torch.no_grad():
            for name, buffer in buffers.items():
                buffer.copy_(saved[name])
    if chance != (random.getstate(), _numpy_state()):
        raise Uncompilable("its step draws random numbers that are not torch's")
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    moved = {id(buffers[name]) for name in changed}
    if any(id(each) in moved and not place.users for each, place in zip(tensors, places, strict=False)):
        raise Uncompilable("its step changes buffers in a way that leaves no trace")
    return Trace(tuple(places), tuple(_parted(module, ends)), _key(module))


def _yielded(variant: Variant, batch: Batch, clock: Clock) -> Iterator[Any]:
    try:
        yield from variant.step(batch, clock)
    except TypeError as error:
        if "PhaseOnly" in str(error):  # an operation that it does not have
            raise Uncompilable(
                "its step depends on the number of the step, not only on its place in the period"
            ) from error
        raise


def _numpy_state() -> str:
    name, keys, *rest = np.random.get_state(legacy=True)
    return digest([name, np.asarray(keys).tolist(), *rest])


def _number(graph: fx.Graph, stretch: int) -> None:
    for node in reversed(graph.nodes):
        if "stretch" in node.meta:
            break
        node.meta["stretch"] = stretch


def _apart(gradients: Sequence[Tensor | None], known: Sequence[Tensor]) -> Iterator[Tensor]:
    """Give gradients memory of their own, as `backward` does: a hook of an optimizer may change them in place."""
    taken = {each.untyped_storage().data_ptr() for each in known}
    for gradient in gradients:
        if gradient is None:
            continue
        where = gradient.untyped_storage().data_ptr()
        yield gradient.clone() if where in taken else gradient
        taken.add(where)


def _parted(module: fx.GraphModule, ends: Sequence[tuple[str, tuple[str, ...], tuple[bool, ...]]]) -> Iterator[Stretch]:
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    results: list[Any] = [*next(iter(module.graph.find_nodes(op="output"))).args[0], ()]
    for number, (player, log, has_gradient) in enumerate([*ends, ("", (), ())]):
        mine = [node for node in nodes if node.meta["stretch"] == number]
        drawn = [node for node in mine if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())]
        if strange := [node for node in drawn if node.target not in DRAWN]:
            raise Uncompilable(f"its step draws random numbers by {strange[0].target}, which depends on tensors")
        body = [node for node in mine if node not in drawn]
        inside = set(body)
        if not all(isinstance(node, fx.Node) for node in results[number]):
            raise Uncompilable(f"its loss of {player!r} does not depend on what it was given")
        needed = [each for node in body for each in node.all_input_nodes] + list(results[number])
        given = list(dict.fromkeys(node for node in needed if node not in inside))
        later = {user for node in (*body, *drawn) for user in node.users if user.op != "output"} - set(mine)
        kept = [node for node in body if not later.isdisjoint(node.users)]
        if not mine and not results[number]:
            continue
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {node: graph.placeholder(node.name) for node in given}
        for node in body:
            copies[node] = graph.node_copy(node, lambda each: copies[each])  # noqa: B023
        graph.output(tuple(copies[node] for node in (*results[number], *kept)))
        part = fx.GraphModule(module, graph)
        yield Stretch(player, log, has_gradient, tuple(drawn), tuple(given), tuple(kept), part)


def _key(module: fx.GraphModule) -> str:
    constants = [node.target for node in module.graph.nodes if node.op == "get_attr"]
    held = [getattr(module, str(name)) for name in constants]
    return digest(
        [module.code, [[str(each.dtype), each.detach().tolist()] for each in held if isinstance(each, Tensor)]]
    )
