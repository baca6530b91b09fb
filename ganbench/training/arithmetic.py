"""Faster arithmetic that stays true float32: fused updates, products through oneDNN, channels last in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop, Rprop

Network = TypeVar("Network", bound=nn.Module)
TRUE_FLOAT32 = 2e-6
"""Up to this relative error a product is one of float32: rounding makes 3e-7, operands of bfloat16 make 3e-3."""
FUSED: Mapping[str, tuple[type[Optimizer], ...]] = {"cpu": (Adam, AdamW), "cuda": (Adam, AdamW, SGD, Adagrad)}
"""Optimizers whose fused kernels are used, by the type of the device."""
OF_PYTORCH = (ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop)
WAYS = ("fused", "foreach", "capturable")
"""Settings of a group that say how an optimizer works, not what it computes."""
CHANNELS_LAST = "channels_last"
"""The attribute of a network that is to lie so in a processor's memory."""


def fuse(optimizers: Mapping[str, Optimizer], device: torch.device) -> None:
    """Let the optimizers that can do so move all weights of a group in one pass over each; on CUDA, in a graph too."""
    fusing = FUSED.get(device.type, ())
    for optimizer in optimizers.values():
        kind = type(optimizer)  # a subclass may do anything
        for group in optimizer.param_groups:
            plain = all(p.dtype == torch.float32 and not p.is_sparse for p in group["params"])
            chosen = group.get("foreach") or group.get("fused") or group.get("differentiable")
            if kind in fusing and plain and not chosen:
                group["fused"], group["foreach"] = True, False
            if kind in OF_PYTORCH and "capturable" in group and not group.get("differentiable"):
                group["capturable"] = device.type == "cuda"
                # It would warn of steps outside of a graph.
                optimizer._warned_capturable_if_run_uncaptured = True


def put_setting(
    optimizer: Optimizer, group: dict[str, Any], name: str, value: Any, device: torch.device | None
) -> None:
    """Set what a schedule says of a group. `device`: where a rate of learning lies, if the optimizer reads it there.

    It is set in place, so that a graph reads what it is now; in float32, whether there is a graph or not.
    """
    fused = type(optimizer) in FUSED["cuda"] and group.get("fused")
    if device is not None and name == "lr" and (fused or (type(optimizer) is RMSprop and group["capturable"])):
        if not isinstance(group[name], Tensor) or group[name].device.type != device.type:  # "cuda" means any of them
            group[name] = torch.zeros((), device=device)
        group[name].copy_(value) if isinstance(value, Tensor) else group[name].fill_(value)
    else:
        group[name] = value


def state_of(optimizer: Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer, its rates as numbers: they are set anew where it is read."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": _number(group["lr"])} if "lr" in group else group for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def load(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Let an optimizer go on from a state, in its own way of work: the state may be of another device."""
    groups = [
        {**saved, **{name: mine[name] for name in WAYS if name in mine}}
        for saved, mine in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Tensor) else value


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
