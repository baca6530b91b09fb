"""What a plugin can switch for the whole process: put back after each call of one, so that nobody else feels it."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Switches = tuple[Any, ...]


def read(device: str = "") -> Switches:
    """Return how everything is switched; `device`: its type, where only what matters on it is asked, and often.

    PyTorch's defaults are among it once PyTorch has been imported.
    """
    python = sys.getrecursionlimit(), gc.isenabled(), tuple(warnings.filters), tuple(sys.path)
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return (python,)
    import numpy as np

    arithmetic = (
        tuple(np.geterr().values()),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        tuple(torch.is_autocast_enabled(kind) for kind in ([device] if device else ["cpu", "cuda"])),
        _of_products(torch),
    )
    kernels = [getattr(*place) for place in _kernels(torch)] if device in ("", "cuda") else []
    return python, arithmetic, kernels, () if device else (torch.get_default_device(),)


def put_back(found: Switches, device: str = "") -> Switches:
    """Switch everything as it was found and return how it is now: places to import from that are new stay, as last."""
    if len(found) > 1:  # first, because PyTorch may import more, which adds filters
        import numpy as np
        import torch

        (errors, dtype, threads, grad, deterministic, warn_only, autocast, products), kernels, default = found[1:]
        np.seterr(**dict(zip(np.geterr(), errors, strict=True)))
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        for kind, enabled in zip([device] if device else ["cpu", "cuda"], autocast, strict=True):
            torch.set_autocast_enabled(kind, enabled)
        _put_kernels_back(torch, products, kernels)
        if default and torch.get_default_device() != default[0]:
            torch.set_default_device(None)
            if torch.get_default_device() != default[0]:
                torch.set_default_device(default[0])
    recursion, collects, filters, path = found[0]
    sys.setrecursionlimit(max(recursion, sys.getrecursionlimit()))  # a deep plugin needs what it has asked for
    (gc.enable if collects else gc.disable)()
    if tuple(warnings.filters) != filters:
        warnings.filters[:] = filters  # type: ignore[index]
        with warnings.catch_warnings():
            pass  # at its end filters count as changed, so that none is remembered
    if tuple(sys.path) != path:  # what it added may be needed when it is used, but hides nobody else's modules
        sys.path[:] = [*path, *(place for place in sys.path if place not in path)]
    return read(device)


def _kernels(torch: Any) -> list[tuple[Any, str]]:
    """Return where PyTorch keeps the choices of kernels; precisions by name, since `allow_tf32` may refuse."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return [(cudnn, "benchmark"), (matmul, "fp32_precision"), (cudnn.conv, "fp32_precision")]


def _of_products(torch: Any) -> str:
    """Return the precision of products by its old name; nothing where that and the new ones differ, as PyTorch says."""
    try:
        return str(torch.get_float32_matmul_precision())
    except RuntimeError:
        return ""


def _put_kernels_back(torch: Any, products: str, kernels: list[Any]) -> None:
    # The old names first, which change the new ones too: where they differ, whoever asks by the old ones gets an error.
    if products and _of_products(torch) != products:
        torch.set_float32_matmul_precision(products)
    if kernels and torch.backends.cudnn.conv.fp32_precision != kernels[2]:
        torch.backends.cudnn.allow_tf32 = kernels[2] == "tf32"
    for place, value in zip(_kernels(torch), kernels, strict=False):  # none where they do not matter
        if getattr(*place) != value:
            setattr(*place, value)


@contextmanager
def products_of(precision: str, device: str) -> Iterator[None]:
    """Let a CUDA device multiply with operands of TF32 inside the block, where that is the precision of a run.

    `device`: its type; on others nothing changes. Outside of the block products are as they were: scores are of float32
    whatever a run is trained in.
    """
    if precision != "tf32" or device != "cuda":
        yield
        return
    import torch

    products, kernels = _of_products(torch), [getattr(*place) for place in _kernels(torch)]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        _put_kernels_back(torch, products, kernels)


@contextmanager
def kept() -> Iterator[None]:
    """Put back after the block what a plugin that is called in it switches for the whole process."""
    found = read()
    try:
        yield
    finally:
        if read() != found:
            put_back(found)
