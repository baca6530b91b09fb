"""Devices, cores and the switches that make arithmetic repeatable."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench.errors import UserError

if TYPE_CHECKING:
    import torch


ROOT = Path("/")
"""Where the system's `proc` and `sys` lie."""


def require_name(text: str) -> None:
    """Raise `UserError` for what can name no device. Imports no torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps(:\d+)?", text, re.ASCII):
        raise UserError(f"--device {text}: write auto, cpu, cuda, cuda:1 or mps")


def resolve_device(text: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there; `auto` prefers CUDA."""
    require_name(text)
    import torch

    if text == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:  # a number that no device has
        raise UserError(f"--device {text}: write auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f"--device {text}: this machine has {count or 'no'} CUDA device{'s' * (count != 1)}")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this machine has no Apple GPU that PyTorch can use")
    return device


def require_tf32(device: torch.device) -> None:
    """Raise `UserError` where a device cannot multiply in TF32."""
    if device.type == "cuda":
        import torch

        with torch.cuda.device(device):
            if torch.cuda.is_tf32_supported():
                return
    found = f"{device} is {describe(device)}" if device.type == "cuda" else f"the device is {device}"
    raise UserError(
        f"--precision tf32 is for CUDA devices of compute capability 8.0 or more, but {found}: leave it out, or name "
        f"another with --device"
    )


def all_devices(text: str, each: int = 1) -> list[str]:
    """Return the devices over which runs are dealt: all CUDA devices for `auto` and `cuda`, else the one named.

    `each`: how many a run takes; only its first is named.
    """
    device = resolve_device(text)
    if device.type == "cuda" and ":" not in text:
        import torch

        count = torch.cuda.device_count()
        return [f"cuda:{number}" for number in range(0, max(1, count - each + 1), each)]
    return [str(device)]


def cores(root: Path | None = None) -> int:
    """Return how many processors this process may use: those it may run on, or a container's share of time if less.

    `root`: where `proc` and `sys` lie, `ROOT` by default.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([usable, *map(math.ceil, _quotas(root or ROOT))]))


def _quotas(root: Path) -> list[float]:
    """Return the shares of processors that control groups allow, of this process's group and of those above it."""
    groups: dict[str, str] = {}  # by controllers; version 2 has one group for all, under no name
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        groups |= dict.fromkeys(controllers.split(","), path.strip("/"))
    found = []
    for controller, mounts in (("", ("", "unified")), ("cpu", ("cpu", "cpu,cpuacct", "cpuacct,cpu"))):
        for mount in mounts:
            top = root / "sys/fs/cgroup" / mount
            # A container sees its own group as the top, whatever its path is outside.
            for folder in {top, *(top / part for part in _upwards(groups.get(controller, "")))}:
                maximum = _read(folder / "cpu.max").split()
                old = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
                amounts = maximum if len(maximum) == 2 else old
                if all(amount.isdigit() and int(amount) > 0 for amount in amounts):  # `max` and -1 are no limit
                    found.append(int(amounts[0]) / int(amounts[1]))
    return found


def _upwards(path: str) -> list[Path]:
    return [Path(path), *Path(path).parents] if path and ".." not in path.split("/") else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def default_jobs(device: torch.device, each: int = 1) -> int:
    """Return how many runs to make side by side: one on an accelerator, on a CPU one a core and at most 8.

    It does not depend on how many runs there are, so that a run has the same number of threads, and with it the same
    numbers, whatever command it is part of. `each`: of how many processes a run consists.
    """
    return max(1, min(cores(), 8) // each) if device.type == "cpu" else 1


def make_repeatable(device: torch.device, threads: int) -> None:
    """Fix the number of threads and choose deterministic kernels in true float32; call before the first operation.

    Operations without such a kernel run all the same, and PyTorch warns of each: see `LooseKernels`.
    """
    import torch

    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that nothing here reads before writing costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cpu":
        from ganbench.training.arithmetic import choose_products

        choose_products()
    if device.type == "cuda":  # TF32 is switched on where a run asks for it, and only in its steps: `products_of`
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def describe(device: torch.device) -> str:
    """Return the name of the device as its maker gives it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"{device.type} ({cores()} cores)"
