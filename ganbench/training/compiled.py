"""Steps as compiled code: forward and backward passes of each update become one function, made once a phase."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.optim import Optimizer

from ganbench.contract.types import Batch, Clock, Update
from ganbench.contract.variant import Variant
from ganbench.errors import UserError, brief
from ganbench.seeds import seeded
from ganbench.training.tracing import Source, Stretch, Trace, Uncompilable, sources, trace

OPTIONS = {"fallback_random": True, "compile_threads": 1}
"""Random numbers are torch's own; the compiler is a child of this process alone."""
ALIKE = 1e-3
"""So far at most, as a share of all it computes, may compiled code be from what it was made of, when it first runs."""

Function = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True)
class Worked(Update):
    """An update whose gradients are there already, one a weight of its player, None where it has none."""

    gradients: Sequence[Tensor | None] = field(default_factory=tuple)


class Compiled:
    """The steps of one variant in training, by phase; its weights and states are read where they lie."""

    def __init__(
        self, variant: Variant, optimizers: Mapping[str, Optimizer], players: Mapping[str, Sequence[Tensor]]
    ) -> None:
        self._variant, self._optimizers, self._players = variant, optimizers, players
        self._sources: list[Source] = []
        self._traces: dict[int, Trace] = {}
        self._known: dict[str, Trace] = {}
        self._functions: dict[fx.GraphModule, Function] = {}

    def forget(self) -> None:
        """Begin anew, as when tensors have taken the place of others."""
        self._sources, self._traces, self._known = [], {}, {}

    def has(self, phase: int) -> bool:
        """Whether the steps of a phase have been traced."""
        return phase in self._traces

    def trace(self, phase: int, batch: Batch, clock: Clock) -> None:
        """Trace a step, once all optimizers have a state. Raises `Uncompilable` where that is not the whole truth.

        A phase that is traced again must compute the same.
        """
        self._sources = self._sources or sources(self._variant, self._optimizers)
        try:
            made = trace(self._variant, self._players, self._sources, batch, clock)
        except Uncompilable:
            raise
        except Exception as error:  # of a plugin under a tracer, which takes no `.item()` and much else
            told = brief(str(error), 200) or type(error).__name__
            reads = "value out of a tracing tensor" in told
            raise Uncompilable("its step reads values of tensors (`.item()`, `if`)" if reads else told) from error
        if phase in self._traces and self._traces[phase].key != made.key:
            raise Uncompilable(f"step {clock.step} computes something else than earlier steps of its phase")
        self._traces[phase] = self._known.setdefault(made.key, made)

    def updates(self, phase: int, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Yield what the variant's step would."""
        made = self._traces[phase]
        outside = [held[name] for held, name in self._sources]
        served = [each for each in (*batch, clock.progress) if each is not None]
        values: dict[Any, Tensor] = dict(zip(made.inputs, (*outside, *served), strict=True))
        for stretch in made.stretches:
            for node in stretch.drawn:
                values[node] = node.target(*node.args, **node.kwargs)  # type: ignore[operator]
            found = self._run(stretch, [values[node] for node in stretch.given])
            results = found[: len(found) - len(stretch.kept)]
            values.update(zip(stretch.kept, found[len(results) :], strict=True))
            if not stretch.player:
                continue
            logged = 1 + len(stretch.log)
            gradients = iter(results[logged:])
            yield Worked(
                stretch.player,
                results[0],
                dict(zip(stretch.log, results[1:logged], strict=True)),
                [next(gradients) if has else None for has in stretch.has_gradient],
            )

    @torch.no_grad()
    def _run(self, stretch: Stretch, given: list[Tensor]) -> Sequence[Tensor]:
        if (function := self._functions.get(stretch.module)) is not None:
            return function(*given)
        with seeded(0):
            right = stretch.module(*[each.clone() for each in given])
            function = self._functions[stretch.module] = _compiled(stretch.module, given)
        found = function(*given)
        pairs = [
            (one.double(), other.double()) for one, other in zip(found, right, strict=True) if one.is_floating_point()
        ]
        distance, size = (sum(float(each.square().sum()) for each in some) ** 0.5 for some in _sides(pairs))
        if distance > ALIKE * size:
            raise Uncompilable(f"compiled, its update of {stretch.player!r} is off by {distance:.2g} of {size:.2g}")
        return found


def _sides(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [one - other for one, other in pairs], [other for _, other in pairs]


def _compiled(module: fx.GraphModule, given: Sequence[Tensor]) -> Function:
    import torch._inductor  # takes a second

    tqdm: Any = getattr(torch.hub, "tqdm", None)
    if hasattr(tqdm, "set_lock"):  # of its own it takes a semaphore, which would outlive this process
        tqdm.set_lock(threading.RLock())
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it looks for CUDA, in vain on a CPU
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            function: Function = torch._inductor.compile(module, list(given), options=OPTIONS)
    except Exception as error:  # a compiler may fail in any way
        raise Uncompilable(f"compiling it fails, {type(error).__name__}: {brief(str(error), 200)}") from error
    return function


def require_compilable(device: str, precision: str) -> None:
    """Raise `UserError` where nothing can be compiled: on another device than a CPU, or without a C++ compiler."""
    if device != "cpu":
        raise UserError(f"--compile is for a CPU, but the device is {device}: add --device cpu, or leave it out")
    if precision != "fp32":
        raise UserError(f"--compile is for --precision fp32, but {precision} is asked for: leave out one of them")
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise UserError(
            "--compile needs a C++ compiler, but there is none: install g++, or name another in the variable CXX"
        ) from None
