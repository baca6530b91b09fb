"""Measuring from outside what a plugin cannot report itself: operations, gradients and memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
EXACT = 1e-12
"""Between this and one over it the squares of float32 gradients neither vanish nor overflow where they matter."""


def _convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    _sizes: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    # A gradient of input or weights has a product for each of the output. PyTorch's formula multiplies that of the
    # weights by the number of groups.
    maps = x if transposed else grad
    return 2 * len(maps) * maps.shape[2:].numel() * weight.numel() * sum(map(bool, wanted[:2]))


def _bilinear(a: Tensor, b: Tensor, c: Tensor, *places: Sequence[int], **_: Any) -> int:
    shapes = [list(each.shape) for each in (a, b, c)]
    for shape, missing in zip(shapes, places, strict=False):
        for place in sorted(missing):
            shape.insert(place, 1)
    return 3 * torch.Size(map(max, *shapes)).numel()  # two multiplications and an addition a term


FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.convolution_backward: _convolution_backward,
    aten.mv: lambda matrix, *_, **__: 2 * matrix.numel(),
    aten.addmv: lambda _, matrix, *__, **___: 2 * matrix.numel(),
    aten.addr: lambda _, column, row, **__: 2 * column.numel() * row.numel(),
    aten.dot: lambda vector, *_, **__: 2 * vector.numel(),
    aten.vdot: lambda vector, *_, **__: 2 * vector.numel(),
    aten.addbmm: lambda _, left, right, **__: 2 * left.numel() * right.shape[-1],
    aten._trilinear: _bilinear,
    # A product of points with their squared lengths beside them.
    aten._euclidean_dist: lambda x, _, out_val, **__: 2 * out_val.numel() * (x.shape[-1] + 2),
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
    aten._scaled_dot_product_attention_math_for_mps: flop_registry[aten._scaled_dot_product_flash_attention],
}
"""Operations by the arguments and the output (`out_val`) of what PyTorch executes; what is missing costs nothing."""
FORMULAS |= {
    getattr(aten, f"{name}_"): FORMULAS[getattr(aten, name)] for name in ("addmm", "baddbmm", "addbmm", "addmv", "addr")
}  # in place


class FlopCounter(TorchDispatchMode):
    """Count floating-point operations of products and convolutions, forward and backward, inside the block.

    Products are those of matrices and vectors, attention and bilinear forms; elementwise work, outer products that are
    written as such included, is left out. PyTorch's own `FlopCounterMode` raises on double backward (gradient
    penalties), and does not see matrix-vector products; this uses most of its formulas.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and add what its formula says."""
        kwargs = kwargs or {}
        formula = FORMULAS.get(func._overloadpacket)
        if formula is None and torch.is_inference_mode_enabled():
            with self:  # there operations arrive whole, as `linear`, which consist of others elsewhere
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=output)
        return output


@torch.no_grad()
def norm_of(gradients: Sequence[Tensor], *, reads: bool = True) -> Tensor:
    """Return the Euclidean norm of all numbers of these tensors together, 0 of none; float64, on an Apple GPU float32.

    One of 1e-30 is told from 0 and one of 1e30 from infinity. Waits for no device. `reads`: whether it may look at a
    number on a CPU, which no graph could repeat.
    """
    found = [torch.view_as_real(each) if each.is_complex() else each for each in gradients if each.numel()]
    if not found:
        return torch.zeros((), dtype=torch.float64)
    if found[0].device.type == "mps":
        return _scaled_norm(found)
    if reads and all(each.device.type == "cpu" and each.dtype == torch.float32 for each in found):
        # There float64 is up to twenty times as slow, and reading a number costs nothing.
        fast = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)), dtype=torch.float64)
        if EXACT < fast.item() < 1 / EXACT:
            return fast
    norms = torch._foreach_norm(found, 2, torch.float64)
    return torch.linalg.vector_norm(torch.stack(norms))


def _scaled_norm(found: list[Tensor]) -> Tensor:
    # Without float64, as a multiple of the largest number.
    limits = torch.finfo(torch.float32)
    largest = torch.stack(torch._foreach_norm(found, float("inf"))).max().clamp(limits.tiny, limits.max)
    return largest * torch.linalg.vector_norm(torch.stack(torch._foreach_norm(torch._foreach_div(found, largest))))


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of peak memory where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def foreign_bytes(device: torch.device, own: Iterable[Tensor]) -> int:
    """Return how much of the device's memory is held now by others than `own` tensors: data, extractors, other copies.

    0 on a CPU, where nobody counts it.
    """
    if device.type != "cuda":
        return 0
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in own if t.device.type == "cuda"}
    return max(0, torch.cuda.memory_allocated(device) - sum(_whole_blocks(size) for size in sizes.values()))


def _whole_blocks(size: int) -> int:
    """Return how much PyTorch allocates for so many bytes: multiples of 512."""
    return -(-size // 512) * 512


def peak_bytes(device: torch.device, foreign: int = 0) -> int:
    """Return the peak of allocated device memory since `reset_peak`; on a CPU the peak of the whole process.

    `foreign`: what others held all the while, which is left out.
    """
    if device.type == "cuda":
        return max(0, torch.cuda.max_memory_allocated(device) - foreign)
    status = Path("/proc/self/status")
    if status.exists():  # the kernel's VmHWM starts anew with the program; ru_maxrss inherits the parent's
        match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(match[1]) * 1024 if match else 0
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
