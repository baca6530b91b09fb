"""Faster arithmetic that stays true float32: fused updates, products through oneDNN, channels last in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

Network = TypeVar("Network", bound=nn.Module)
TRUE_FLOAT32 = 2e-6
"""Up to this relative error a product is one of float32: rounding makes 3e-7, operands of bfloat16 make 3e-3."""
CHANNELS_LAST = "channels_last"
"""The attribute of a network that is to lie so in a processor's memory."""


def fuse(optimizers: Mapping[str, Optimizer], device: torch.device) -> None:
    """Let the optimizers that can do so move all weights of a group in one pass over each."""
    if device.type not in ("cpu", "cuda"):
        return
    for optimizer in optimizers.values():
        if type(optimizer) not in (Adam, AdamW):  # a subclass may do anything
            continue
        for group in optimizer.param_groups:
            plain = all(p.dtype == torch.float32 and not p.is_sparse for p in group["params"])
            chosen = group.get("foreach") or group.get("fused") or group.get("differentiable")
            if plain and not chosen:
                group["fused"], group["foreach"] = True, False


def choose_products(vendor: str | None = None) -> None:
    """Send products of float32 through oneDNN on the processors of which MKL knows nothing, where that is exact.

    PyTorch offers this path under the name of a lower precision, which it is only on processors with units for it.
    `vendor`: of the processor, as `/proc/cpuinfo` has it.
    """
    if (vendor or _vendor()) in ("", "GenuineIntel"):
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    if not all(_is_true_float32(*sides) for sides in ((64, 256, 64), (256, 1024, 512), (1000, 60, 40))):
        torch.set_float32_matmul_precision(before)


def _vendor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def _is_true_float32(rows: int, inner: int, columns: int) -> bool:
    a = torch.arange(rows * inner, dtype=torch.float64).mul_(1.7).sin_().view(rows, inner)
    b = torch.arange(inner * columns, dtype=torch.float64).mul_(0.7).cos_().view(inner, columns)
    a, b = a.float().double(), b.float().double()
    error = (a.float() @ b.float()).double() - a @ b
    return bool(error.norm() <= TRUE_FLOAT32 * (a @ b).norm())


def want_channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights of a network out with channels last, as convolutions on a processor like them.

    What it returns lies as ever, so nobody outside of it need know.
    """
    setattr(network, CHANNELS_LAST, True)
    network.register_forward_hook(_as_ever)
    return network.to(memory_format=torch.channels_last)


def _as_ever(network: nn.Module, inputs: Any, output: Any) -> Any:
    return output.contiguous() if isinstance(output, Tensor) else output


def placed(network: Network, device: torch.device) -> Network:
    """Move a network to a device, its weights in the order that the device likes."""
    for module in network.modules():
        if device.type != "cpu" and getattr(module, CHANNELS_LAST, False):
            module.to(memory_format=torch.contiguous_format)
    return network.to(device)


@torch.no_grad()
def copy_all(sources: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    """Copy tensors into others in one call for each type: a device that has to take turns copies one by one."""
    pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for source, target in zip(sources, targets, strict=True):
        mine, others = pairs.setdefault(target.dtype, ([], []))
        mine.append(target)
        others.append(source)
    for mine, others in pairs.values():
        torch._foreach_copy_(mine, others)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[torch.dtype]:
    """Make new tensors of floats in a number format inside the block: latents are drawn so."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield dtype
    finally:
        torch.set_default_dtype(before)
