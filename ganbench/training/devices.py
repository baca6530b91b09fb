"""Devices, cores and the switches that make arithmetic repeatable."""

from __future__ import annotations

import os

import torch

from ganbench.errors import UserError


def resolve_device(text: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there; `auto` prefers CUDA."""
    if text == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UserError(f"--device {text}: write auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f"--device {text}: this machine has {count or 'no'} CUDA device{'s' * (count != 1)}")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this machine has no Apple GPU that PyTorch can use")
    if device.type not in ("cpu", "mps"):
        raise UserError(f"--device {text}: write auto, cpu, cuda, cuda:1 or mps")
    return device


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(device: torch.device) -> int:
    """Return how many runs to make side by side: one on an accelerator, on a CPU one a core and at most 8.

    It does not depend on how many runs there are, so that a run has the same number of threads, and with it the same
    numbers, whatever command it is part of.
    """
    return min(cores(), 8) if device.type == "cpu" else 1


def make_repeatable(device: torch.device, threads: int) -> None:
    """Fix the number of threads and choose deterministic kernels in true float32; call before the first operation."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that nothing here reads before writing costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def describe(device: torch.device) -> str:
    """Return the name of the device as its maker gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({cores()} cores)"
