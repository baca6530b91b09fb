"""A recorder of steps that needs no GPU: it repeats ATen operations as a CUDA graph repeats kernels.

What is recorded is all that reaches a device, autograd and optimizers included: operations, the tensors they were
given, by address, and the numbers that Python handed to them, which stay what they were. A replay writes each result
where the recorded one lies, and draws random numbers anew. So what a graph would freeze is frozen here, and a replay
that comes to other bits is told. `fake_cuda` sees what differs between two steps at real widths, and no values; this
sees values, on tiny networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ganbench.training.capture import Refusing

READ_ON_CPU = frozenset({"one_hot"})


class Operation(NamedTuple):
    """One operation. `into`: by place among its results, memory of its own that these are written to."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    into: Sequence[tuple[int, Tensor]]


class Tape(Refusing):
    """Carry operations out inside the block and write them down."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.may_read = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation where a graph could have it. Raises `Uncompilable` elsewhere."""
        kwargs = kwargs or {}
        given = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        may_read = self.may_read and func._schema.name == "aten::_local_scalar_dense"
        output = func(*args) if may_read else super().__torch_dispatch__(func, types, args, kwargs)
        results = tree_leaves(output)
        into = [
            (place, result)
            for place, result in enumerate(results)
            if isinstance(result, Tensor) and _memory(result) not in given
        ]
        if into or func._schema.is_mutable:  # all else are views, which follow what they show
            self.operations.append(Operation(func, args, kwargs, into))
        return output

    def play(self) -> None:
        """Repeat what was written down, below autograd, which was recorded too."""
        with torch._C._AutoDispatchBelowAutograd():
            for function, args, kwargs, into in self.operations:
                results = tree_leaves(function(*args, **kwargs))
                for place, target in into:
                    target.copy_(results[place])


class Lenient(TorchFunctionMode):
    """Let functions read values that PyTorch looks at on a CPU alone, to see whether what they are given is right."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        before, self._tape.may_read = self._tape.may_read, getattr(func, "__name__", "") in READ_ON_CPU
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._tape.may_read = before


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def on_tape(function: Callable[[], None]) -> Callable[[], None]:
    """Record a function on a tape: the `recorder` of a trainer."""
    tape = Tape()
    with tape, Lenient(tape):
        function()
    return tape.play
