"""Capturing what a device is asked to do: where that can be repeated without the host, and where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganbench.errors import UserError
from ganbench.training.tracing import Uncompilable

SIZES = frozenset(
    {"nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "equal", "repeat_interleave"}
)
"""Operations whose result, or its size, the host waits for."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes a function of operations on tensors and returns one that repeats these, at the same addresses.

The function is called once, and whether its operations are carried out then is the recorder's own affair. Raises
where they cannot be recorded.
"""


def recorder_for(device: torch.device) -> Recorder | None:
    """Return what captures the steps of a run on a device, or None where nothing can."""
    return CudaRecorder(device) if device.type == "cuda" else None


def require_graphs(device: torch.device) -> None:
    """Raise `UserError` where a device has no graphs."""
    if device.type != "cuda":
        raise UserError(
            f"--compile graph is for a CUDA device, but the device is {device}: name one, as --device cuda, or leave "
            f"out graph"
        )


class Refusing(TorchDispatchMode):
    """Refuse inside the block what a graph cannot repeat, before the device is asked and the capture lost."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation where that needs nothing of the host. Raises `Uncompilable`."""
        name = func._schema.name.partition("::")[2]
        if name == "_local_scalar_dense":
            raise Uncompilable("its step reads values of tensors on the host (`.item()`, `if`)")
        if name in SIZES or (name in ("index", "index_put", "index_put_") and _masked(args[1])):
            raise Uncompilable(f"its step waits for {name}: a result, or the size of it, depends on values")
        if name in ("_to_copy", "copy_"):
            target = args[0].device if name == "copy_" else torch.device((kwargs or {}).get("device") or args[0].device)
            source = args[1] if name == "copy_" else args[0]
            if source.device.type != target.type:
                raise Uncompilable("its step copies between host and device")
        return func(*args, **(kwargs or {}))


def _masked(indices: Any) -> bool:
    return any(isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in tree_leaves(indices))


class CudaRecorder:
    """Captures on a CUDA device.

    The graphs of one run share memory: what one has computed is taken before another is replayed. A generator that is
    seeded before a replay gives the numbers of a step that is made: PyTorch fills in seed and offset at each.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Capture what a function asks of the device, which carries nothing out, and return what launches it."""
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(current):  # put back, however the capture ends
            self._stream = self._stream or torch.cuda.Stream(self._device)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph, lost = torch.cuda.CUDAGraph(), list[Exception]()
            try:
                # Of this thread alone: another may copy the next batch meanwhile.
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    _carried_out(function, lost)
            except Exception as error:
                self._clear_away()
                raise next(iter(lost), error) from None  # the end of a lost capture fails too, and says less
        return graph.replay

    def _clear_away(self) -> None:
        """End what a lost capture leaves begun: some versions of PyTorch stop at its error.

        Their allocator goes on to keep memory for it; their generator is in a capture until another one ends.
        """
        with suppress(RuntimeError):  # where it is over
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
        self._pool = None
        with (
            suppress(RuntimeError),
            torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self._stream, capture_error_mode="thread_local"),
        ):
            torch.zeros((), device=self._device)


def _carried_out(function: Callable[[], None], lost: list[Exception]) -> None:
    try:
        with Refusing():
            function()
    except Exception as error:
        lost.append(error)
        raise
